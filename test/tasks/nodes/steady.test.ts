import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { FileState } from '../../../lib/files/place.ts'
import type { NodeLook, UnitState } from '../../../lib/remote/answer.ts'
import { oldSuffix } from '../../../lib/remote/look.ts'
import type { Unit } from '../../../tasks/layouts/layout.ts'
import { type Watch, watch } from '../../../tasks/nodes/steady.ts'
import type { UnitsFound } from '../../../tasks/nodes/units.ts'
import { nodeUnits } from '../../../tasks/tables/places.ts'

const worker = { name: 'w0', role: 'worker' } as ClusterNode
const units = nodeUnits({ layout: 'harder-way', install: false }, worker)
const proxy = units.find(({ unit }) => unit === 'kube-proxy') as Unit

const credentials = { kubeconfigs: [], encryptionConfig: undefined, rotatesItself: false, reloadsEncryption: false }
const process = (id: number, age: number) => ({ id, isStopped: false, age, started: 1000, ...credentials })
const running: UnitState = {
  ...{ isLoaded: true, active: 'active', sub: 'running', isStopping: false, started: 1000 },
  ...{ process: process(1, 5000), restarts: 0, restartsAfter: 5, account: undefined },
}

/** A look at a worker where kube-proxy is like this. */
function look(state: Partial<UnitState>, unhealthy?: string): UnitsFound {
  const folders = new Set(units.flatMap(({ files }) => files.map(({ path }) => path.replace(/\/[^/]*$/, ''))))
  const places = {
    ...{ now: 9000, folders, files: new Map(), contents: new Map(), real: new Map(), links: [], odd: [] },
    units: new Map([
      ['kubelet', running],
      ['kube-proxy', { ...running, ...state }],
    ]),
    listening: new Set<number>(),
    drained: [],
  }
  const why = new Map(unhealthy === undefined ? [] : [['kube-proxy', unhealthy]])
  return { look: {} as NodeLook, places, served: new Map(), unhealthy: why }
}

/** What each look after the first says: seconds left, or why the unit is not healthy. */
function watched(renewed: readonly Unit[], before: UnitsFound, ...looks: readonly UnitsFound[]): (number | string)[] {
  let since: Watch['since'] = new Map()
  return looks.map((seen) => {
    // Each look makes its units anew.
    const next = watch({ units: units.map((unit) => ({ ...unit })), before, renewed, since }, seen)
    since = next.since
    return next.unsteady?.[1] ?? next.left
  })
}

const old = look({})
const anew = (age: number, more: Partial<UnitState> = {}) => look({ process: process(2, age), ...more })

describe('before the turn of a node is over', () => {
  test('nothing is waited for where nothing was restarted', () => {
    assert.deepEqual(watched([], old, look({ process: process(1, 5003) })), [0])
  })

  test('a unit that was restarted is healthy for ten seconds with the same process', () => {
    assert.deepEqual(watched([proxy], old, anew(2), anew(7), anew(12)), [10, 5, 0])
  })

  test('or for as long as systemd would wait before it starts it again, up to five minutes', () => {
    const looks = [30, 1e9, Number.POSITIVE_INFINITY].map((restartsAfter) => anew(2, { restartsAfter }))
    assert.deepEqual(
      looks.flatMap((seen) => watched([proxy], old, seen)),
      [30, 300, 300],
    )
  })

  test('the time counts from when it was first seen healthy, not from its start', () => {
    const slow = look({ process: process(2, 8) }, '/healthz does not answer')
    assert.deepEqual(watched([proxy], old, slow, anew(9), anew(18), anew(19)), ['/healthz does not answer', 10, 1, 0])
  })

  test('one that ends in that time has to start from the beginning', () => {
    const again = 'it was healthy, and has been started again since'
    const third = (age: number) => look({ process: process(3, age), restarts: 1 })
    assert.deepEqual(watched([proxy], old, anew(2), third(1), third(11)), [10, again, 0])
  })

  test('one that is down between two starts, or has just ended, is not healthy', () => {
    const down = look({ active: 'activating', sub: 'auto-restart', process: undefined })
    assert.deepEqual(watched([proxy], old, anew(1), down, look({ process: 'gone' })), [
      10,
      'it is activating (auto-restart)',
      'its main process has just ended',
    ])
  })

  test('one that ended because another was restarted is waited for in the same way', () => {
    const fallen = (age: number) => anew(age, { restarts: 1 })
    assert.deepEqual(watched([], old, fallen(1), fallen(11)), [10, 0])
  })

  test('one that a killed run may have restarted is waited for by the next run', () => {
    const files = new Map([[`/var/lib/kube-proxy/kubeconfig${oldSuffix}`, {} as FileState]])
    const left = { ...old, places: { ...old.places, files } }
    assert.deepEqual(
      watched([], left, look({ process: process(1, 5003) }), look({ process: process(1, 5013) })),
      [10, 0],
    )
  })

  test('one that was ending again and again before is not healthy after ten seconds', () => {
    const before = look({ restarts: 7, process: process(1, 3) })
    const [reason] = watched([], before, anew(11, { restarts: 8 }))
    assert.equal(reason, 'it ended, and systemd restarted it 11 s ago (restarts: 8)')
    // Other files may be what it lacked.
    assert.deepEqual(watched([proxy], before, anew(1, { restarts: 7 }), anew(11, { restarts: 7 })), [10, 0])
  })

  test('one that ended again and again with the files that the run has replaced, and then stays up, is healthy', () => {
    const ending = (age: number) => look({ restarts: 4, process: process(2, age) })
    const ended = (age: number) => `it ended, and systemd restarted it ${age} s ago (restarts: 4)`
    assert.deepEqual(watched([proxy], ending(3), ending(20), ending(30)), [ended(20), 0])
    assert.deepEqual(watched([], ending(3), ending(30)), [ended(30)])
  })

  test('nothing shows how long a unit without a process of its own stays up', () => {
    assert.deepEqual(watched([proxy], look({ process: undefined }), look({ process: undefined, started: 2000 })), [0])
  })
})
