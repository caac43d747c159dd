import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PlacesState } from '../../../lib/node/state.ts'
import { filesNamedBy, settingsOf } from '../../../tasks/nodes/settings.ts'

const path = '/var/lib/kubelet/kubelet-config.yaml'
const placesWith = (args: readonly string[], contents: Readonly<Record<string, string>> = {}) => {
  const files = Object.entries(contents).map(([name, text]): [string, Buffer] => [name, Buffer.from(text)])
  const process = { id: 1, isStopped: false, age: 1, started: 1, args }
  return { units: new Map([['a', { process }]]), real: new Map(), contents: new Map(files) } as unknown as PlacesState
}
const settings = (args: readonly string[], contents?: Readonly<Record<string, string>>) =>
  settingsOf('a', placesWith(args, contents)) ?? assert.fail()

describe('the settings of a process', () => {
  test('are read from its flags, in both forms; the last one counts', () => {
    const rows: [args: string[], kubeconfigs: string[]][] = [
      [['--kubeconfig=/a/k'], ['/a/k']],
      [['--v', '2', '--kubeconfig', '/a/k', '--x'], ['/a/k']],
      [['--kubeconfig=/a/k', '--kubeconfig=/b/k'], ['/b/k']],
      [['--kubeconfig='], []],
      [['--kubeconfig', '--v=2'], []],
      [['--kubeconfig-dir=/a'], []],
      [['--kubeconfig=relative'], []],
    ]
    for (const [args, kubeconfigs] of rows) assert.deepEqual(settings(args).kubeconfigs, kubeconfigs, args.join(' '))
    assert.equal(settingsOf('b', placesWith([])), undefined)
  })

  test('tell whether an API server reloads its encryption config, and where that is', () => {
    const flag = '--encryption-provider-config-automatic-reload'
    for (const yes of [[`${flag}=true`], [flag], [flag, '--v=2'], [flag, 'x'], [`${flag}=false`, `${flag}=1`]])
      assert.equal(settings(yes).reloadsEncryption, true, yes.join(' '))
    for (const no of [[], [`${flag}=false`], [flag, `${flag}=0`], [`${flag}=$(x)`], [`${flag}-interval=true`]])
      assert.equal(settings(no).reloadsEncryption, false, no.join(' '))
    const config = '--encryption-provider-config'
    assert.equal(settings([`${config}=/a/x.yaml`, config, '/b/y.yaml', flag]).encryptionConfig, '/b/y.yaml')
    for (const none of [[flag], [`${config}=relative.yaml`], [`${config}=/$(x)`]])
      assert.equal(settings(none).encryptionConfig, undefined, none.join(' '))
  })

  const rotates = (args: readonly string[], text?: string) =>
    settings(args, text === undefined ? {} : { [path]: text }).rotatesItself

  test('tell whether a kubelet gets its certificate itself: by flags, which precede its file', () => {
    assert.equal(rotates([]), false)
    assert.equal(rotates(['--bootstrap-kubeconfig=/a/b']), true)
    assert.equal(rotates(['--bootstrap-kubeconfig=']), false)
    assert.equal(rotates(['--rotate-certificates']), true)
    assert.equal(rotates(['--rotate-certificates=false', '--v=2']), false)
    assert.equal(rotates([`--config=${path}`, '--rotate-certificates=false'], 'rotateCertificates: true'), false)
  })

  for (const [text, expected] of [
    ['kind: KubeletConfiguration', false],
    ['rotateCertificates: true', true],
    ['rotateCertificates: true # as CIS has it', true],
    ["'rotateCertificates' : true", true],
    ['{"clusterDomain": "a#b", "rotateCertificates": true}', true],
    ['rotateCertificates:\n  true', true],
    // YAML 1.1.
    ['rotateCertificates: yes', true],
    ['rotateCertificates: On', true],
    ['rotateCertificates: no', false],
    ['# rotateCertificates: true', false],
    ['other:\n  rotateCertificates: true', false],
    // The kubelet would not start with these.
    ['rotateCertificates: "true"', undefined],
    ['rotateCertificates: [', undefined],
    ['rotateCertificates: true\nrotateCertificates: false', undefined],
    ['a: &a true\nrotateCertificates: *a', undefined],
    ['a: &a { rotateCertificates: true }\n<<: *a', undefined],
    ['true', undefined],
  ] as const)
    test(`a file of ${JSON.stringify(text)} says ${expected}`, () => {
      assert.equal(rotates([`--config=${path}`], text), expected)
      assert.equal(rotates(['--config', path], text), expected)
    })

  test('are not known for sure where the file was not read, or others may say otherwise', () => {
    for (const args of [[`--config=${path}`], ['--config=kubelet.yaml'], ['--config=/a b'], ['--config-dir=/a']])
      assert.equal(rotates(args), undefined, args.join(' '))
    assert.equal(rotates([`--config=${path}`, '--config-dir=/a'], 'rotateCertificates: false'), undefined)
  })

  test('have the kubeconfig that the file names', () => {
    const text = 'clientConnection:\n  kubeconfig: "/b/kubeconfig"\n'
    assert.deepEqual(settings([`--config=${path}`, '--kubeconfig=/a/k'], { [path]: text }).kubeconfigs, [
      '/a/k',
      '/b/kubeconfig',
    ])
    assert.deepEqual(settings([`--config=${path}`], { [path]: 'clientConnection: x' }).kubeconfigs, [])
  })

  test('name files, of which the encryption config is not sent', () => {
    assert.deepEqual(filesNamedBy(placesWith([`--config=${path}`, '--encryption-provider-config=/e.yaml'])), [
      { path, isRead: true },
      { path: '/e.yaml', isRead: false },
    ])
    assert.deepEqual(filesNamedBy(placesWith(['--config=/a b', '--encryption-provider-config=x'])), [])
  })
})
