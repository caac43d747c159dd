/** Targets and the edges between them. Pure. */
import type { Reason } from '../reason.ts'
import type { Workspace } from './workspace.ts'

/** `node-certs/worker0`; the phase's own name where it has one target. */
export type TargetId = string

/** In `usedBy`, for what all of them have open. */
export const everyComponent = 'every component'

/** Which limit a target's work counts against. */
export type Lane = 'cpu' | 'ssh'

export interface Verdict {
  /** None: what is there is fresh. */
  readonly reasons: readonly Reason[]
  /** A fresh certificate's end. */
  readonly until?: Date | undefined
  /** What is to be said of it where it is fresh. */
  readonly note?: string | undefined
  /** What its user should know in any case. */
  readonly warning?: string | undefined
}

export interface Target {
  readonly id: TargetId
  readonly phase: string
  /** The node that it belongs to, if it belongs to one. */
  readonly node?: string | undefined
  readonly needs: readonly TargetId[]
  /** Files that it makes, by their names in auth/. */
  readonly makes: readonly string[]
  /** What it is for, in a few letters: a column of a table. */
  readonly purpose?: string
  /** The components that have its files open, and read them anew when they are restarted. */
  readonly usedBy?: readonly string[]
  readonly lane?: Lane
  /** Losing it, or the key in it, breaks a running cluster: it refuses to be replaced before anything is built. */
  readonly irreplaceable?: 'whole' | 'key' | undefined
  /** Reads only. Throws a Failure where what is there may not be replaced, or can't be looked at. */
  check(at: Workspace, force?: Force): Verdict | Promise<Verdict>
  /** Makes it; absent where there is only something to look at. What it returns is what the user must do next. */
  build?(at: Workspace, work: Work): Promise<string | undefined>
  /** After check and build, however they ended: closes what they opened. Never throws. */
  release?(at: Workspace): Promise<void>
}

/** Made again though fresh; what is irreplaceable in it replaced; or (the CA alone) certified anew with the same key. */
export type Force = 'rebuild' | 'replace' | 'renew'

/** What a build is told. */
export interface Work {
  readonly reasons: readonly Reason[]
  readonly force: Force | undefined
  readonly signal: AbortSignal
}

export type Graph = ReadonlyMap<TargetId, Target>

/** Throws an Error (a mistake in the table of targets) for a repeated id or file, an unknown need or a cycle. */
export function buildGraph(targets: readonly Target[]): Graph {
  const byId = new Map<TargetId, Target>()
  const makers = new Map<string, TargetId>()
  for (const target of targets) {
    const { id, makes } = target
    if (byId.has(id)) throw new Error(`two targets are called ${id}`)
    byId.set(id, target)
    for (const file of makes) {
      if (makers.has(file)) throw new Error(`${makers.get(file)} and ${id} both make ${file}`)
      makers.set(file, id)
    }
  }
  return closure(byId, byId.keys())
}

/** The targets and all that they need, each after its needs, else in the graph's order. */
export function closure(graph: Graph, ids: Iterable<TargetId>): Graph {
  const wanted = new Map<TargetId, Target>()
  const visiting: TargetId[] = []
  const visit = (id: TargetId): void => {
    if (wanted.has(id)) return
    const target = graph.get(id)
    if (!target) throw new Error(`${visiting.at(-1)} needs ${id}, which there is not`)
    if (visiting.includes(id)) throw new Error(`targets need each other: ${[...visiting, id].join(' > ')}`)
    visiting.push(id)
    target.needs.forEach(visit)
    visiting.pop()
    wanted.set(id, target)
  }
  for (const id of ids) visit(id)
  return wanted
}

export function nameInPhase({ id, phase }: Target): string {
  return id === phase ? id : id.slice(phase.length + 1)
}
