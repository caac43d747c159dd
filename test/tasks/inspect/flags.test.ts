import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readCommand } from '../../../tasks/inspect/command-line.ts'
import { compareFlags, formatUnset, type WantedFlag } from '../../../tasks/inspect/flags.ts'

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

test('each flag that is unset is named with its value, and what it replaces, however many there are', () => {
  const unit = { unit: 'kube-apiserver', service: 'k8s-api' }
  const many = [1, 2, 3, 4].map((i) => ({ flag: `--a${i}`, value: `v${i}` }))
  assert.equal(
    formatUnset(unit, [cafile, config, ...many]),
    'kube-apiserver needs --etcd-cafile=/k/etcd-ca.pem, --authorization-config=/k/a.yaml (instead of --authorization-mode), --a1=v1, --a2=v2, --a3=v3, --a4=v4; set that where the command line of the unit comes from (systemctl cat k8s-api), then run:\n    systemctl daemon-reload\nthe next run restarts kube-apiserver; if a run prints this again, restart kube-apiserver yourself, one node at a time',
  )
})
