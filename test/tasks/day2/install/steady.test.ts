import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type FileState, oldSuffix } from '../../../../lib/node/place.ts'
import type { NodeState } from '../../../../lib/node/state.ts'
import type { UnitsFound } from '../../../../tasks/day2/install/look-at-units.ts'
import { checkSteady } from '../../../../tasks/day2/install/steady.ts'
import { unitsOn } from '../../../../tasks/inspect/reads.ts'
import type { Unit } from '../../../../tasks/layouts/layout.ts'
import { nodeUnits } from '../../../../tasks/layouts/tables.ts'
import { processHost } from '../../../../tasks/run/host.ts'
import { twoNodes as cluster, placesWith, runningUnit, type UnitState, unitOf, worker } from '../../../support/fakes.ts'

const units = nodeUnits(cluster, worker)
const proxy = unitOf('kube-proxy')

const process = (id: number, age: number) => ({ id, isStopped: false, age, started: 1000 })
const running: UnitState = { ...runningUnit, process: process(1, 5000) }

/** A look at a worker where kube-proxy is like this. */
function look(state: Partial<UnitState>, unhealthy?: string): UnitsFound {
  const folders = new Set(units.flatMap(({ files }) => files.map(({ path }) => path.replace(/\/[^/]*$/, ''))))
  const found = new Map([
    ['kubelet', running],
    ['kube-proxy', { ...running, ...state }],
  ])
  const places = placesWith({ now: 9000, folders, units: found })
  const why = new Map(unhealthy === undefined ? [] : [['kube-proxy', unhealthy]])
  // Each look makes its units anew.
  const seen = unitsOn(cluster, worker, places)
  const look = { units: seen, served: new Map(), unhealthy: why, selfMade: undefined }
  return { ...({} as NodeState), ...look, places }
}

/**
 * What each look says: seconds that all have to stay as they are, "steady" if they did, or why a unit is not healthy.
 */
function watched(renewed: readonly Unit[], before: UnitsFound, ...looks: readonly UnitsFound[]): (number | string)[] {
  let first: UnitsFound | undefined
  return looks.map((seen) => {
    const { unsteady, seconds } = checkSteady({ run: processHost, before, renewed, first }, seen)
    const isSteady = first !== undefined && unsteady === undefined
    first = unsteady ? undefined : seen
    return unsteady?.[1] ?? (isSteady ? 'steady' : seconds)
  })
}

const old = look({})
const anew = (age: number, more: Partial<UnitState> = {}) => look({ process: process(2, age), ...more })

describe('before the turn of a node is over', () => {
  test('nothing is waited for where nothing was restarted, nor where no process shows how long it stays up', () => {
    assert.deepEqual(watched([], old, look({ process: process(1, 5003) })), [0])
    assert.deepEqual(watched([proxy], look({ process: undefined }), look({ process: undefined, started: 2000 })), [0])
  })

  test('a unit that was restarted stays healthy for ten seconds from the first look that finds it so, with the same process', () => {
    const slow = look({ process: process(2, 8) }, '/healthz does not answer')
    assert.deepEqual(watched([proxy], old, slow, anew(9), anew(19)), ['/healthz does not answer', 10, 'steady'])
  })

  test('one that ends in that time has to start from the beginning', () => {
    const again = 'it was healthy, then restarted'
    const third = (age: number) => look({ process: process(3, age), restarts: 1 })
    assert.deepEqual(watched([proxy], old, anew(2), third(1), third(2), third(12)), [10, again, 10, 'steady'])
    const down = look({ active: 'activating', sub: 'auto-restart', process: undefined })
    assert.deepEqual(watched([proxy], old, anew(1), down, look({ process: 'gone' })), [
      10,
      'it is activating (auto-restart)',
      'its main process has just ended',
    ])
  })

  test('one that ended because another was restarted is waited for in the same way', () => {
    const fallen = (age: number) => anew(age, { restarts: 1 })
    assert.deepEqual(watched([], old, fallen(1), fallen(11)), [10, 'steady'])
  })

  test('one that a killed run may have restarted is waited for by the next run', () => {
    const files = new Map([[`/var/lib/kube-proxy/kubeconfig${oldSuffix}`, {} as FileState]])
    assert.deepEqual(watched([], { ...old, places: { ...old.places, files } }, old, old), [10, 'steady'])
  })

  test('one that was ending again and again before is not healthy after ten seconds, unless it got other files', () => {
    const before = look({ restarts: 7, process: process(1, 3) })
    const [reason] = watched([], before, anew(11, { restarts: 8 }))
    assert.equal(reason, 'systemd restarted it 11 s ago (8 restarts)')
    assert.deepEqual(watched([proxy], before, anew(1, { restarts: 7 }), anew(11, { restarts: 7 })), [10, 'steady'])
  })
})
