/** What ran when: auth/last-run.json, for the report's picture of the run. Milliseconds since the run began. */
import * as v from 'valibot'
import type { RunEvent } from '../targets/executor.ts'
import type { Graph } from '../targets/graph.ts'
import type { TargetId } from '../targets/target.ts'
import { describeOutcome } from './reporter.ts'

export const lastRunFile = 'last-run.json'

const milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0))
const targetSchema = v.object({
  id: v.string(),
  needs: v.array(v.string()),
  /** Null for what was not reached. */
  started: v.nullable(milliseconds),
  /** Null where there was nothing to make. */
  building: v.nullable(milliseconds),
  ended: milliseconds,
  outcome: v.picklist(['fresh', 'built', 'stale', 'failed', 'cancelled']),
  message: v.string(),
})
const recordSchema = v.object({
  version: v.literal(1),
  /** As on the command line: `bootstrap`, `certs deploy`. */
  names: v.array(v.string()),
  began: v.pipe(v.string(), v.isoTimestamp()),
  exit: v.number(),
  targets: v.array(targetSchema),
})

export type RunRecord = v.InferOutput<typeof recordSchema>
export type TargetRecord = RunRecord['targets'][number]

export interface Recorder {
  event(event: RunEvent): void
  /** The text of the file. */
  finish(exit: number): string
}

export function createRecorder(names: readonly string[], graph: Graph): Recorder {
  const began = new Date().toISOString()
  const start = performance.now()
  const elapsed = () => Math.round((performance.now() - start) * 10) / 10
  const [started, building] = [new Map<TargetId, number>(), new Map<TargetId, number>()]
  const targets: TargetRecord[] = []
  return {
    event: (event) => {
      const { type, id } = event
      if (type === 'started') started.set(id, elapsed())
      else if (type === 'building') building.set(id, elapsed())
      else {
        targets.push({
          id,
          needs: [...(graph.get(id)?.needs ?? [])],
          started: started.get(id) ?? null,
          building: building.get(id) ?? null,
          ended: elapsed(),
          outcome: event.outcome.kind,
          message: describeOutcome(event.outcome),
        })
      }
    },
    finish: (exit) =>
      `${JSON.stringify({ version: 1, names: [...names], began, exit, targets } satisfies RunRecord)}\n`,
  }
}

/** Undefined for a text that is no such record. */
export function readRunRecord(text: string): RunRecord | undefined {
  try {
    const parsed = v.safeParse(recordSchema, JSON.parse(text))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}

/** What the target waited for longest. */
export function lastNeed(target: TargetRecord, byId: ReadonlyMap<string, TargetRecord>): TargetRecord | undefined {
  return latest(target.needs.flatMap((need) => byId.get(need) ?? []))
}

function latest(targets: readonly TargetRecord[]): TargetRecord | undefined {
  return targets.reduce<TargetRecord | undefined>((a, b) => (a && a.ended >= b.ended ? a : b), undefined)
}

/** From the target that ended last back to the one that began the chain: each is what the next waited for longest. In order. */
export function criticalPath(targets: readonly TargetRecord[]): Set<TargetRecord> {
  const byId = new Map(targets.map((target) => [target.id, target]))
  const path: TargetRecord[] = []
  let next = latest(targets)
  // A record that was changed by hand could go round in circles.
  while (next && !path.includes(next)) {
    path.unshift(next)
    next = lastNeed(next, byId)
  }
  return new Set(path)
}
