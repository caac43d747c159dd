import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeState } from '../../../lib/node/state.ts'
import { unitsOn } from '../../../tasks/inspect/agreement.ts'
import { findUnstable } from '../../../tasks/install/bring-up.ts'
import type { UnitsLook } from '../../../tasks/install/places.ts'
import { nodeUnits } from '../../../tasks/layouts/tables.ts'
import { twoNodes as cluster, placesWith, runningUnit, type UnitState, worker } from '../../support/fakes.ts'

const running: UnitState = { ...runningUnit, process: 1 }

/** A look at a worker where kube-proxy is like this. */
function look(state: Partial<UnitState>, unhealthy?: string): UnitsLook {
  const files = nodeUnits(cluster, worker).flatMap((unit) => unit.files)
  const folders = new Set(files.map(({ path }) => path.replace(/\/[^/]*$/, '')))
  const found = new Map([
    ['kubelet', running],
    ['kube-proxy', { ...running, ...state }],
  ])
  const places = placesWith({ now: 9000, folders, units: found })
  const why = new Map(unhealthy === undefined ? [] : [['kube-proxy', unhealthy]])
  const seen = { units: unitsOn(cluster, worker, places), served: new Map(), unhealthy: why, selfMade: undefined }
  return { ...({} as NodeState), ...seen, places }
}

test('a unit that was restarted has to be healthy, by the same process in a later look', () => {
  const again = look({ process: 2 })
  const restarted = again.units.filter(({ unit }) => unit === 'kube-proxy')
  const why = (seen: UnitsLook, healthy?: UnitsLook) => findUnstable(seen, { healthy, restarted })?.[1]
  assert.equal(why(look({ process: 2 }, '/healthz does not answer')), '/healthz does not answer')
  assert.equal(why(again), undefined)
  assert.equal(why(again, again), undefined)
  assert.equal(why(look({ process: 3 }), again), 'it was healthy, then restarted')
  const down = look({ active: 'activating', sub: 'auto-restart', process: undefined })
  assert.equal(why(down, again), 'it is activating (auto-restart)')
  const stopped = look({ active: 'inactive', sub: 'dead', process: undefined })
  assert.equal(why(stopped, again), 'it stopped after its restart')
})
