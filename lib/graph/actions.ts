/** What a plan would do, as actions that are the same on every machine: their hash, and a run that keeps to them. Pure. */
import { hash } from 'node:crypto'
import type { Change } from '../change.ts'
import { Failure } from '../failure.ts'
import { formatReasons, isRepair, type Reason } from '../reason.ts'
import { octal } from '../wording.ts'
import type { Graph } from './graph.ts'
import type { Run } from './run.ts'
import type { Outcome, Target } from './target.ts'

export interface Plan {
  /** SHA-256, in hexadecimal. */
  readonly hash: string
  readonly actions: ReadonlySet<string>
}

/** Of a dry run with what it foresees; undefined if a target could not be looked at. */
export function planOf(graph: Graph, outcomes: ReadonlyMap<string, Outcome>, cluster: string): Plan | undefined {
  const actions: string[] = []
  for (const target of graph.values()) {
    const outcome = outcomes.get(target.id)
    if (outcome?.kind === 'stale') actions.push(...actionsOf(target, outcome.reasons, outcome.change))
    else if (outcome?.kind !== 'fresh') return undefined
  }
  const whole = JSON.stringify([cluster, ...actions.toSorted()])
  return { hash: hash('sha256', whole), actions: new Set(actions) }
}

/** The same targets; each refuses to be built if that is not in the plan. */
export function keepTo({ actions }: Plan, graph: Graph): Graph {
  return new Map([...graph].map(([id, target]) => [id, keepTargetTo(actions, target)]))
}

function keepTargetTo(actions: Plan['actions'], target: Target): Target {
  const { build } = target
  if (!build) return target
  return {
    ...target,
    build: async (run, work) => {
      const { reasons } = work
      const change = isRepair(reasons) ? undefined : await target.foresee?.(run, work)
      if (actionsOf(target, reasons, change).some((action) => !actions.has(action)))
        throw otherPlan(`this is not in the plan: ${formatReasons(reasons)}`, run)
      try {
        return await build(run, work)
      } catch (error) {
        throw error instanceof Failure && error.code === 'changed-meanwhile' ? otherPlan(error.message, run) : error
      }
    },
  }
}

/** Something else would be done than what was planned. */
export function otherPlan(what: string, { command }: Pick<Run, 'command'>): Failure {
  const remedy = `see what would be done now: ${command('bootstrap --dry-run')}`
  return new Failure(what, { kind: 'refused', code: 'other-plan', remedy })
}

/**
 * The target with the values that it is to have, with each file and with each unit to restart. The user's own kubeconfig is of one
 * machine, and part of no plan that others review.
 */
function actionsOf({ id, where, wanted }: Target, reasons: readonly Reason[], change: Change | undefined): string[] {
  if (where === 'kubeconfig') return []
  const done = ['', ...reasons.flatMap(repairsFor), ...(change ? worksOf(change) : [])]
  return done.map((what) => JSON.stringify([id, wanted, what]))
}

function repairsFor(reason: Reason): string[] {
  if (reason.kind === 'wrong-mode') return [`${octal(reason.wanted)} ${reason.path}`]
  if (reason.kind === 'on-node') return reason.wrongMode.map((file) => `mode ${file}`)
  return reason.kind === 'left-drained' ? ['undrain'] : []
}

function worksOf(change: Change): string[] {
  const each = (verb: string, names: readonly string[]) => names.map((name) => `${verb} ${name}`)
  if (change.kind === 'made') return each(change.isReplaced ? 'replace' : 'make', change.files)
  if (change.kind === 'deployed') return [...each('copy', change.files), ...each('remove', change.removed)]
  if (change.kind === 'installed')
    return [...each('install', change.paths), ...each('remove', change.removed), ...each('restart', change.restarts)]
  return []
}
