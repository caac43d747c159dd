import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { readCommand } from '../../../tasks/looks/command-line.ts'
import { compareFlags, formatUnset, type WantedFlag } from '../../../tasks/looks/flags.ts'
import { processAs } from '../../support/fakes.ts'

const program = '/usr/local/bin/kube-apiserver'
const cafile: WantedFlag = { flag: '--etcd-cafile', value: '/k/etcd-ca.pem' }
const config: WantedFlag = { flag: '--authorization-config', value: '/k/a.yaml', replaces: ['--authorization-mode'] }

describe('what a unit lacks', () => {
  const command = (...args: string[]) => readCommand(args, { real: new Map(), contents: new Map() })
  const old = command('--etcd-cafile=/k/ca.pem')
  const right = command('--etcd-cafile=/k/ca.pem', '--etcd-cafile=/k/etcd-ca.pem')

  test('is to be set in its unit file first, and what only that has needs a restart', () => {
    for (const [next, running, unset, notStartedWith] of [
      [old, [old], 1, 0],
      [right, [old], 0, 1],
      [right, [right], 0, 0],
      // Its next start would lose it.
      [old, [right], 1, 0],
      [old, [], 1, 0],
      [right, [], 0, 0],
      // What its process lacks counts where its unit file can not be read.
      [undefined, [old], 1, 0],
      [undefined, [right], 0, 0],
    ] as const) {
      const found = compareFlags([cafile], { running, next })
      assert.deepEqual([found.unset.length, found.notStartedWith.length], [unset, notStartedWith])
    }
  })

  test('is a flag, too, beside which another stands that it replaces', () => {
    const both = command('--authorization-config=/k/a.yaml', '--authorization-mode=Node')
    assert.equal(compareFlags([config], { running: [], next: both }).unset.length, 1)
    const alone = command('--authorization-config=/k/a.yaml')
    assert.equal(compareFlags([config], { running: [both], next: alone }).notStartedWith.length, 1)
  })
})

describe('the command that sets flags', () => {
  /** `start` is as systemd prints it. */
  const told = (
    start: string | undefined,
    args?: readonly string[],
    unset = [cafile],
    { sudo = '', isRenamed = false } = {},
  ) => {
    const { command } = processAs('kube-apiserver', ...(args ?? []))
    const unit = { unit: 'kube-apiserver', service: 'k8s-api', command: args ? command : [], start }
    return formatUnset({ ...unit, sudo, isRenamed }, unset)
  }
  /** What it writes, by a shell. */
  const written = (text: string) => {
    const [, write = ''] = /^ {4}mkdir .*(printf .* )(?=\| tee)/m.exec(text) ?? assert.fail(text)
    return execFileSync('sh', ['-c', write]).toString().split('\n')
  }

  test('writes a drop-in with the whole command line, in words of systemd, and restarts nothing', () => {
    const text = told(`${program} --v=2 --etcd-cafile=/k/ca.pem`, ['--v=2', '--etcd-cafile=/k/ca.pem'])
    const [comment, ...lines] = written(text)
    assert.match(comment ?? '', /^# /)
    assert.deepEqual(lines, ['[Service]', 'ExecStart=', `ExecStart=${program} --v=2 --etcd-cafile=/k/etcd-ca.pem`, ''])
    const folder = '/etc/systemd/system/k8s-api.service.d'
    assert.ok(text.endsWith(` | tee ${folder}/zz-harderway.conf >/dev/null && systemctl daemon-reload`), text)
    assert.doesNotMatch(text, /systemctl restart/)
    const asUser = told(program, [], [cafile], { sudo: 'sudo -n' })
    assert.match(asUser, /^ {4}sudo -n mkdir .* \| sudo -n tee .* && sudo -n systemctl daemon-reload$/m)
  })

  test('sets a flag where it is, however it is written, or where one that it replaces is; a new one is the last', () => {
    const set = (unset: WantedFlag[], ...args: string[]) => written(told([program, ...args].join(' '), args, unset))[3]
    const old = ['--etcd_cafile', '/k/ca.pem', '--a', '-authorization-mode=Node,RBAC', '--etcd-cafile=/x', 'b']
    const [ca, authorization] = ['--etcd-cafile=/k/etcd-ca.pem', '--authorization-config=/k/a.yaml']
    assert.equal(set([cafile, config], '--v=2', ...old), `ExecStart=${program} --v=2 ${ca} --a ${authorization} b`)
    assert.equal(set([config, cafile], '--v=2'), `ExecStart=${program} --v=2 ${authorization} ${ca}`)
  })

  test('keeps blanks, quotes, backslashes and percent signs of words, whatever the process has besides', () => {
    const words = ['--a=b  c', '--q="x" \'y\'', '--b=\\n\\', '--p=100%', '', ';', '--etcd-cafile', '/k/ca.pem', '--v=2']
    const own = ['/opt/component.ts', 'kube-apiserver', ...words, '--a=b', 'c']
    for (const args of [words, own])
      assert.equal(
        written(told([program, ...words].join(' '), args))[3],
        `ExecStart=${program} "--a=b  c" "--q=\\"x\\" 'y'" "--b=\\\\n\\\\" --p=100%% "" ";" --etcd-cafile=/k/etcd-ca.pem --v=2`,
      )
  })

  test('takes the words of a unit file that was changed since, or of one that does not run, if they are clear', () => {
    const start = `${program} --etcd-cafile /k/ca.pem --more=1`
    const expected = `ExecStart=${program} --etcd-cafile=/k/etcd-ca.pem --more=1`
    for (const args of [['--etcd-cafile=/k/ca.pem'], undefined]) assert.equal(written(told(start, args))[3], expected)
  })

  test('names each flag, however many there are', () => {
    const many = [1, 2, 3, 4, 5, 6].map((i) => ({ flag: `--a${i}`, value: `v${i}` }))
    assert.match(told('$A', [], many), /--a1=v1, --a2=v2, --a3=v3, --a4=v4, --a5=v5, --a6=v6; /)
    assert.match(told(program, [], many), /needs --a1, --a2, --a3, --a4, --a5, --a6; /)
  })

  test('is none, but the settings are named, where not all of the command line is known from the unit file', () => {
    const args = ['--etcd-cafile=/k/ca.pem']
    for (const [start, own, more] of [
      [`${program} $ARGS`, args],
      [`${program} \${CA}`, args],
      [undefined, args],
      // A wrapper adds them.
      [program, args],
      [`${program} --a=b c`, undefined],
      [`${program} --a=\u001b[2J`, args],
      // By "@" another program is started than the first word says.
      [`kube-apiserver ${args}`, args, { isRenamed: true }],
    ] as const)
      assert.equal(
        told(start, own, [cafile, config], more),
        'kube-apiserver needs --etcd-cafile=/k/etcd-ca.pem, --authorization-config=/k/a.yaml (instead of --authorization-mode); set that where its command line comes from (systemctl cat k8s-api), and restart it, one node at a time',
      )
  })
})
