import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type FileState, oldSuffix } from '../../../../lib/node/place.ts'
import type { NodeState } from '../../../../lib/node/state.ts'
import type { UnitsFound } from '../../../../tasks/day2/install/look-at-units.ts'
import { findUnsteady, hasStarted } from '../../../../tasks/day2/install/steady.ts'
import { unitsOn } from '../../../../tasks/inspect/agreement.ts'
import { nodeUnits } from '../../../../tasks/layouts/tables.ts'
import { twoNodes as cluster, placesWith, runningUnit, type UnitState, worker } from '../../../support/fakes.ts'

const units = nodeUnits(cluster, worker)

const running: UnitState = { ...runningUnit, process: 1 }

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

/** What each look says: why a unit is not healthy, "watch" if all are and one was restarted, or "steady". */
function watched(before: UnitsFound, ...looks: readonly UnitsFound[]): string[] {
  let first: UnitsFound | undefined
  return looks.map((seen) => {
    const unsteady = findUnsteady(seen, first)
    const isSteady = first !== undefined || !hasStarted(before, seen)
    first = unsteady ? undefined : seen
    return unsteady?.[1] ?? (isSteady ? 'steady' : 'watch')
  })
}

const old = look({})
const other = (id: number, more: Partial<UnitState> = {}) => look({ process: id, ...more })

describe('before the turn of a node is over', () => {
  test('nothing is waited for where nothing was restarted, nor where no process shows how long it stays up', () => {
    assert.deepEqual(watched(old, look({})), ['steady'])
    assert.deepEqual(watched(look({ process: undefined }), look({ process: undefined, started: 2000 })), ['steady'])
  })

  test('a unit that was restarted has the same process in a later look than the first that finds it healthy', () => {
    const slow = look({ process: 2 }, '/healthz does not answer')
    assert.deepEqual(watched(old, slow, other(2), other(2)), ['/healthz does not answer', 'watch', 'steady'])
  })

  test('one that ends in that time has to start from the beginning', () => {
    const again = 'it was healthy, then restarted'
    assert.deepEqual(watched(old, other(2), other(3), other(3), other(3)), ['watch', again, 'watch', 'steady'])
    const down = look({ active: 'activating', sub: 'auto-restart', process: undefined })
    assert.deepEqual(watched(old, other(2), down), ['watch', 'it is activating (auto-restart)'])
  })

  test('one that a killed run may have restarted is waited for by the next run', () => {
    const files = new Map([[`/var/lib/kube-proxy/kubeconfig${oldSuffix}`, {} as FileState]])
    assert.deepEqual(watched({ ...old, places: { ...old.places, files } }, old, old), ['watch', 'steady'])
  })
})
