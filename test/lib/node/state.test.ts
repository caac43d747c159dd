import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { readState } from '../../../lib/node/state.ts'
import { shownUnit } from '../../support/fakes.ts'
import { sha256 } from '../../support/files.ts'
import { nonce } from '../../support/node-shells.ts'

const shown = (unit: string, more: Record<string, string> = {}) => {
  const ExecMainStartTimestamp = 'Wed 2026-11-25 11:40:18.123456 UTC'
  const ExecStart = '{ path=/usr/bin/x ; argv[]=/usr/bin/x --a=b ; ignore_errors=no ; start_time=[n/a] ; pid=0 }'
  const lines = shownUnit(unit, { ExecMainStartTimestamp, ExecStart, ...more })
  return [...lines.map((line) => `show ${line}`), 'shown']
}
const digest = sha256('x')
const start = Date.UTC(2026, 10, 25, 11, 40, 18) / 1000
const fileLine = 'file 644 0 5 81a4 1 2026-11-25 11:40:18.500000000 +0000 /etc/etcd/ca.pem'
const digestLine = `${digest}  /etc/etcd/ca.pem`
const neverStarted = { ExecMainStartTimestamp: '' }
const records = [
  'exists /etc/etcd',
  'now 1795607000',
  'account 990 991 5 etcd:pki:ssl more',
  ...shown('etcd', {
    ...{ User: 'etcd', Group: 'pki', SupplementaryGroups: 'ssl more', MainPID: '41' },
    NeedDaemonReload: 'yes',
  }),
  ...shown('kubelet', { ...{ LoadState: 'not-found', ActiveState: 'inactive', SubState: 'dead' }, ...neverStarted }),
  ...shown('kube-proxy', {
    ...{ User: 'nobody-knows' },
    ExecStart: '{ path=/opt/1.36/kube-proxy ; argv[]=kube-proxy --v=2 ; ignore_errors=no ; pid=0 }',
  }),
  'argument 41 /usr/bin/etcd',
  'argument 41 --name=a b',
  'argument 41 $(x)',
  'argument 41 ',
  'hostname etcd-0',
  'real /etc/etcd/kubernetes.pem /srv/pki/kubernetes.pem',
  fileLine,
  'file 777 0 0 a1ff 20 2026-11-25 11:40:18.5 +0000 /srv/pki/kubernetes.pem',
  digestLine,
  'content /etc/etcd/ca.pem',
  ' 78',
]
const framed = (lines: readonly string[], part: string) =>
  [
    'a login prints',
    `${nonce}-${part} begin`,
    ...lines,
    `${nonce}-${part} end ${lines.filter((line) => !line.startsWith(' ')).length}`,
    '',
  ].join('\n')
/** Beside an empty folder. */
const readPlaces = (output: string) => {
  const { places } = readState(framed(['now 1', 'uid 0', 'folder /root'], 'folder') + output, nonce, true)
  if (!places || places instanceof Failure) throw places ?? new Error('no places')
  return places
}
const isFailure = (code: string) => (error: unknown) => error instanceof Failure && error.code === code

describe('the answer to a look at places', () => {
  test('is read', () => {
    const seen = readPlaces(framed(records, 'root'))
    assert.equal(seen.now, 1795607000)
    assert.deepEqual([...seen.folders], ['/etc/etcd'])
    const starts = { start: '/usr/bin/x --a=b' }
    const none = { process: undefined, command: undefined, ...starts }
    const running = { ...none, hasUnitFile: true, active: 'active', sub: 'running', started: start + 0.123456 }
    const dead = { ...none, hasUnitFile: false, active: 'inactive', sub: 'dead', started: undefined }
    assert.deepEqual(Object.fromEntries(seen.units), {
      etcd: {
        ...{ ...running, process: 41, account: { uid: 990, gids: [991, 5] }, needsReload: true },
        command: ['/usr/bin/etcd', '--name=a b', '$(x)', ''],
      },
      kubelet: { ...dead, account: { uid: 0, gids: [0] }, needsReload: false },
      'kube-proxy': {
        ...{ ...running, account: undefined, needsReload: false },
        start: 'kube-proxy --v=2',
      },
    })
    assert.equal(seen.hostname, 'etcd-0')
    assert.deepEqual([...seen.real], [['/etc/etcd/kubernetes.pem', '/srv/pki/kubernetes.pem']])
    assert.deepEqual(seen.files.get('/etc/etcd/ca.pem'), {
      ...{ kind: 'file', mode: 0o644, uid: 0, gid: 5, size: 1, changed: start + 0.5, sha256: digest },
      lines: `${fileLine}\n${digestLine}`,
    })
    assert.equal(seen.files.get('/srv/pki/kubernetes.pem')?.kind, 'link')
    assert.deepEqual(seen.contents, new Map([['/etc/etcd/ca.pem', Buffer.from('x')]]))
  })

  test('is refused where any line of it is missing', () => {
    for (const record of records)
      assert.throws(() => readPlaces(framed(records, 'root').replace(`${record}\n`, '')), isFailure('no-answer'))
  })

  const wrong = {
    'a unit has no state': records.filter((line) => line !== 'show ActiveState=active'),
    'a digest is of a file that is not there': records.filter((line) => line !== fileLine),
    'a content is another': records.map((line) => (line === ' 78' ? ' 79' : line)),
    'a content has no digest': records.filter((line) => line !== digestLine),
  }
  for (const [what, lines] of Object.entries(wrong))
    test(`is refused where ${what}`, () => {
      assert.throws(() => readPlaces(framed(lines, 'root')), isFailure('no-answer'))
    })
})

test('a file is known by its type', () => {
  const kinds = { '81a4': 'file', '41ed': 'folder', a1ff: 'link', '11a4': 'other', c1a4: 'other' }
  for (const [type, kind] of Object.entries(kinds)) {
    const file = `file 644 0 0 ${type} 1 2026-11-25 11:40:18.5 +0000 ca.pem`
    const { files } = readState(framed(['now 1', 'uid 0', 'folder /', file], 'folder'), nonce)
    assert.equal(files.get('ca.pem')?.kind, kind)
  }
})
