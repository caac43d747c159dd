import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatAuthorization } from '../../../lib/kubernetes/authorization.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { unitsOn } from '../../../tasks/inspect/agreement.ts'
import { refuseOpen, type UnitsLook } from '../../../tasks/install/places.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { checkList } from '../../../tasks/revoked/revoked.ts'
import { allThere, control, failureOf, placesWith, runningUnit, startedAs, twoNodes } from '../../support/fakes.ts'

const config = '/var/lib/kubernetes/authorization-config.yaml'
const ours = `--authorization-config=${config}`
const cluster = { ...twoNodes, revoked: ['jane'] }

/** What is found where the API server was started with these flags. */
function found(...flags: string[]) {
  const { command } = startedAs('kube-apiserver', ...flags)
  const units = new Map([['kube-apiserver', { ...runningUnit, command, start: command.join(' ') }]])
  const places = placesWith({ ...allThere, units, hostname: 'c0' })
  return { units: unitsOn(cluster, control, places), places } as unknown as UnitsLook
}

test('a configuration of its owner is left alone, and the list refused with the reason', async () => {
  const files = harderWay.files
  const run = { cluster, options: { names: [] }, auth: { files, tryBytes: () => undefined } } as unknown as Run
  const seen = found('--authorization-mode=AlwaysAllow')
  const look = { ...seen, files: new Map(), contents: new Map() }
  await assert.rejects(
    checkList(run, control, look),
    /revoked can't be enforced by kube-apiserver, as its --authorization-mode is AlwaysAllow/,
  )
})

test('no list is installed where other users could replace it', () => {
  const seen = found(ours)
  const places = { ...seen.places, above: new Map([['/var', { mode: 0o755, uid: 65534, gid: 0 }]]) }
  const bytes = Buffer.from(formatAuthorization(['jane'], '/k'))
  const auth = { files: { ...harderWay.files, mode: () => 0o600 }, tryBytes: () => bytes }
  const unit = seen.units.find((each) => each.unit === 'kube-apiserver') ?? assert.fail()
  const list = { ...unit, files: unit.files.filter(({ path }) => path === config) }
  const on = { run: { cluster, auth } as unknown as Run, node: control }
  assert.equal(failureOf(() => refuseOpen(on, list, places))?.code, 'open-folder')
  assert.equal(
    failureOf(() => refuseOpen(on, list, seen.places)),
    undefined,
  )
})
