/** What a plan would do, as actions that are the same on every machine: their hash, and a run that keeps to them. Pure. */
import { createHash } from 'node:crypto'
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
export function planOf(
  graph: Graph,
  outcomes: ReadonlyMap<string, Outcome>,
  { cluster }: Pick<Run, 'cluster'>,
): Plan | undefined {
  const ends = [...graph.values()].map((target) => ({ target, outcome: outcomes.get(target.id) }))
  if (ends.some(({ outcome }) => outcome?.kind !== 'fresh' && outcome?.kind !== 'stale')) return undefined
  const actions = ends.flatMap(({ target, outcome }) => (outcome?.kind === 'stale' ? actionsOf(target, outcome) : []))
  const whole = JSON.stringify([cluster.name, ...actions.toSorted()])
  return { hash: createHash('sha256').update(whole).digest('hex'), actions: new Set(actions) }
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
      const confirm = (reasons: readonly Reason[], change: Change | undefined) => {
        if (actionsOf(target, { reasons, change }).some((action) => !actions.has(action)))
          throw otherPlan(`this is not in the plan: ${formatReasons(reasons)}`, run)
      }
      confirm(reasons, isRepair(reasons) ? undefined : await target.foresee?.(run, work))
      return build(run, { ...work, confirm })
    },
  }
}

/** Something else would be done than what was planned. */
export function otherPlan(what: string, { command }: Pick<Run, 'command'>): Failure {
  const remedy = `see what would be done now: ${command('bootstrap --dry-run')}`
  return new Failure(what, { kind: 'refused', code: 'other-plan', remedy })
}

/** The user's own kubeconfig is of one machine, and part of no plan that others review. */
function actionsOf(
  { id, where, wanted }: Target,
  { reasons, change }: { readonly reasons: readonly Reason[]; readonly change?: Change | undefined },
): string[] {
  if (where === 'kubeconfig') return []
  const found = [['build'], ...reasons.flatMap(repairsFor), ...(change ? worksOf(change) : [])]
  return found.map((action) => JSON.stringify([id, wanted, ...action]))
}

type Action = readonly [verb: string, ...what: unknown[]]

function repairsFor(reason: Reason): Action[] {
  switch (reason.kind) {
    case 'wrong-mode':
      return [['mode', reason.path, octal(reason.wanted)]]
    case 'on-node':
      return reason.wrongMode.map((file) => ['mode', file])
    case 'left-drained':
      return [['undrain']]
    default:
      return []
  }
}

function worksOf(change: Change): Action[] {
  switch (change.kind) {
    case 'made':
      return [['make', change.files, change.isReplaced === true]]
    case 'deployed':
      return [
        ...change.files.map((file): Action => ['copy', file]),
        ...change.removed.map((file): Action => ['remove', file]),
      ]
    case 'installed':
      return [
        ...change.paths.map((path): Action => ['install', path]),
        ...change.restarts.map((unit): Action => ['restart', unit]),
      ]
    case 'proven':
    case 'rewritten':
      return []
    default:
      return change satisfies never
  }
}
