import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatAuthorization } from '../../../../lib/kubernetes/authorization.ts'
import type { PlacesState } from '../../../../lib/node/state.ts'
import type { UnitsFound } from '../../../../tasks/day2/install/look-at-units.ts'
import { refuseOpenList } from '../../../../tasks/day2/install/open-folders.ts'
import { stillListed } from '../../../../tasks/day2/revoked/guard-list.ts'
import { formatOwned, type ListInForce, minorOf, refuseOldApi } from '../../../../tasks/day2/revoked/list-in-force.ts'
import { whyOpen } from '../../../../tasks/day2/revoked/revoked-list.ts'
import { unitsOn } from '../../../../tasks/inspect/reads.ts'
import { harderWay } from '../../../../tasks/layouts/harder-way.ts'
import type { Run } from '../../../../tasks/target.ts'
import {
  allThere,
  control,
  failureOf,
  placesWith,
  rootsFile,
  runningUnit,
  startedAs,
  twoNodes,
} from '../../../support/fakes.ts'

const config = '/var/lib/kubernetes/authorization-config.yaml'

/** What is found where the API server was started with these flags, and says that of the list. */
function found(inForce: ListInForce | undefined, ...flags: string[]) {
  const process = startedAs('kube-apiserver', ...flags)
  const { group, command } = process
  const units = new Map([['kube-apiserver', { ...runningUnit, group, start: command.join(' ') }]])
  const places = placesWith({ ...allThere, units, processes: [process], hostname: 'c0' })
  const revoked = { ...twoNodes, revoked: ['jane'] }
  const ofUnits = unitsOn(revoked, control, places)
  return { units: ofUnits, otherProcesses: [], places, files: new Map(), inForce } as unknown as UnitsFound
}

const text = Buffer.from(formatAuthorization({ entries: ['jane'], certificates: [] }, '/k'))
const auth = { read: () => ({ kind: 'file' }), tryBytes: () => text }
const run = { cluster: { ...twoNodes, revoked: ['jane'] }, auth } as unknown as Run
const said = (isLoaded: boolean, ...found: string[]): ListInForce => ({
  ...{ isLoaded, isCounting: isLoaded },
  others: { found, silent: [], unknown: [] },
})
const ours = `--authorization-config=${config}`

test('what is not enforced is said where no run can change it', () => {
  const openOf = (...of: Parameters<typeof found>) => whyOpen(run, found(...of)).join()
  assert.equal(openOf(said(true), ours), '')
  // A run waits for it.
  assert.equal(openOf(said(false), ours), '')
  assert.match(openOf(said(false), '--authorization-mode=Node,RBAC'), /^revoked is not enforced by kube-apiserver$/)
  assert.match(openOf(undefined, ours), /may not be enforced, as kube-apiserver did not answer/)
  assert.match(
    openOf(said(true, 'on w0', 'at 192.0.2.9:6443'), ours),
    /may not be enforced by the API server on w0, which is no control node's .* by the API server at 192\.0\.2\.9:6443/,
  )
  const unread = { ...said(true), others: { found: [], silent: [], unknown: ['their list can not be read'] } }
  assert.match(openOf(unread, ours), /may not be enforced by API servers that .* as their list can not be read$/)
  const process = { id: 7, uid: 0, group: '/system.slice/k8s-api.service' }
  const another = [{ component: 'kube-apiserver', process, names: [] }] as unknown as UnitsFound['otherProcesses']
  assert.match(
    whyOpen(run, { ...found(said(true), ours), otherProcesses: another }).join(),
    /by kube-apiserver, process 7 in \/system\.slice\/k8s-api\.service, which belongs to no unit in cluster\.yaml/,
  )
  const leftOut = another.map((each) => ({ ...each, isLeftOut: true }))
  assert.deepEqual(whyOpen(run, { ...found(said(true), ours), otherProcesses: leftOut }), [])
  assert.match(whyOpen(run, { ...found(said(true), ours), units: [] }).join(), /is not installed as a unit/)
})

test("a process of any user's that has its name is no API server, unless that user is the unit's or serves its port", () => {
  const process = { id: 7, uid: 1000, group: '/user.slice/a.scope' }
  const otherProcesses = [
    { component: 'kube-apiserver', process, names: [] },
  ] as unknown as UnitsFound['otherProcesses']
  const seen = found(said(true), ours)
  const openWhere = (more: Partial<PlacesState>) =>
    whyOpen(run, { ...seen, otherProcesses, places: { ...seen.places, ...more } }).length > 0
  assert.equal(openWhere({}), false)
  assert.equal(openWhere({ listeners: new Set([1000]) }), true)
  const unit = { ...runningUnit, account: { uid: 1000, gids: [1000] } as const }
  assert.equal(openWhere({ units: new Map([['kube-apiserver', unit]]) }), true)
})

test('a list that other users could replace may not be enforced, and no other is installed there', () => {
  const seen = found(said(true), ours)
  const above = new Map([['/var', { mode: 0o755, uid: 65534, gid: 0 }]])
  const places = { ...seen.places, above }
  const cluster = { ...twoNodes, revoked: ['jane'] }
  const files = { ...harderWay.files, mode: () => 0o600 }
  const of = { cluster, auth: { ...auth, files } } as unknown as Run
  const [why = '', ...more] = whyOpen(of, { ...seen, places })
  assert.match(
    why,
    /^revoked may not be enforced by kube-apiserver, as users other than root can replace files below \/var; run as root on the node: chown root \/var$/,
  )
  assert.deepEqual(more, [])
  const unit = seen.units.find((each) => each.unit === 'kube-apiserver') ?? assert.fail()
  const list = { ...unit, files: unit.files.filter(({ path }) => path === config) }
  const refused = (of: Pick<PlacesState, 'files'>) =>
    failureOf(() =>
      refuseOpenList({ run: { cluster, auth: { ...auth, files } } as unknown as Run, node: control }, list, {
        ...places,
        ...of,
      }),
    )?.code
  assert.equal(refused({ files: new Map([[config, rootsFile]]) }), 'open-folder')
  // Without it an API server that is started with it would not start again.
  assert.equal(refused({ files: new Map() }), undefined)
})

test('a configuration of its owner is left alone: the authorizer to add is printed', () => {
  const [unit] = found(said(false), '--authorization-mode=AlwaysAllow').units.filter(({ owned }) => owned.length > 0)
  const [why = ''] = unit?.owned ?? []
  assert.match(formatOwned(run, why), /its --authorization-mode is AlwaysAllow; .*\n {2}- type: Webhook\n/)
})

test('without the key, whom the list of the node denies is named although auth/ has none, and the way back', () => {
  const cluster = { ...twoNodes, revoked: undefined }
  const lost = { read: () => undefined, tryBytes: () => undefined }
  const without = { cluster, auth: lost } as unknown as Run
  const backOf = (flag: string, there = text) => {
    const seen = found(undefined, flag)
    const at = { files: new Map([[config, rootsFile]]), contents: new Map([[config, there]]) }
    const places = { ...seen.places, ...at }
    return stillListed(without, control, { ...seen, units: unitsOn(cluster, control, places), places }).join()
  }
  const back = backOf(ours)
  assert.match(
    back,
    /still denies jane \(\/var\/\S+\.yaml\), but cluster\.yaml has no revoked; add revoked: \[jane\]; or restore access: /,
  )
  assert.match(
    back,
    /set --authorization-mode=Node,RBAC instead of --authorization-config, then run systemctl daemon-reload, and restart it/,
  )
  assert.equal(backOf('--authorization-mode=Node,RBAC'), '')
  const own = Buffer.from('kind: AuthorizationConfiguration\nauthorizers: []\n')
  assert.equal(backOf(ours, own), '')
  assert.match(backOf(ours, Buffer.from('half a fi')), /still denies everyone in its list/)
})

test('an API server that is too old is refused where it can not be started with the list, or would not know a key', () => {
  const listing = (...entries: string[]) => {
    const listed = Buffer.from(formatAuthorization({ entries, certificates: [] }, '/k'))
    return { ...run, auth: { ...auth, tryBytes: () => listed } } as unknown as Run
  }
  const check =
    (of: Run, minor: number | undefined, ...flags: string[]) =>
    () =>
      refuseOldApi(of, control, found(undefined, ...flags).units, { minor })
  const key = `sha256:${'1'.repeat(64)}`
  for (const [of, flag] of [
    [run, '--authorization-mode=Node,RBAC'],
    [listing(key), ours],
  ] as const) {
    assert.throws(check(of, 31, flag), /kube-apiserver is Kubernetes 1\.31, but revoked needs 1\.32/)
    for (const minor of [32, undefined]) assert.doesNotThrow(check(of, minor, flag))
  }
  assert.doesNotThrow(check(run, 31, ours))
})

test('the version of an API server is read from its answer, or not known', () => {
  const minors = ['31', '32+', '36', '', undefined].map((minor) => minorOf({ major: '1', minor }))
  assert.deepEqual(minors, [31, 32, 36, undefined, undefined])
  assert.equal(minorOf({ major: '2', minor: '1' }), undefined)
})
