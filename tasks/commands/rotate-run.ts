/** A rotation at work: its walks, and what is said before, between and after them. */

import { Failure } from '../../lib/failure.ts'
import type { RunOptions } from '../../lib/graph/executor.ts'
import { buildGraph, type Graph } from '../../lib/graph/graph.ts'
import type { Target } from '../../lib/graph/target.ts'
import { adviseAfter } from '../../lib/show/advice.ts'
import { viewPhases } from '../../lib/show/phase-view.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import { summarise } from '../../lib/show/summary.ts'
import { exitStatus, type Finding } from '../looks/exit-status.ts'
import { walk } from '../looks/walk.ts'
import { clusterGraph } from '../phases/table.ts'
import type { Request } from '../request/session.ts'
import { rewritePhase } from '../rotations/rewrite.ts'
import type { Rotating, Rotation, Stage } from '../rotations/rotation.ts'
import { stageNumber } from '../rotations/table.ts'
import { phases } from '../tables/phases.ts'

export interface Run {
  readonly request: Request
  readonly rotation: Rotation
  readonly rotating: Rotating
  /** To the end of a stage, or of the settled state. Empty where all of it is as asked. */
  readonly walk: (stage: Stage | undefined) => Promise<readonly Finding[]>
  readonly say: (text: string) => void
}

/** What is said while no walk is shown waits for the next one, or for the end. */
export class Teller {
  readonly #request: Request
  readonly #waiting: string[] = []
  #reporter: Reporter | undefined

  constructor(request: Request) {
    this.#request = request
  }

  readonly say = (text: string): void => {
    if (this.#reporter) this.#reporter.note(text)
    else this.#waiting.push(text)
  }

  /** While the work is done, what is said is told by the reporter. */
  async through<T>(reporter: Reporter, work: () => Promise<T>): Promise<T> {
    this.#reporter = reporter
    for (const text of this.#waiting.splice(0)) reporter.note(text)
    try {
      return await work()
    } finally {
      this.#reporter = undefined
    }
  }

  /** With why it ended, where it failed. */
  async end(failure?: Failure): Promise<void> {
    if (!failure && this.#waiting.length === 0) return
    const { reporterFor, endedStatus } = this.#request
    const reporter = await reporterFor([], false)
    await this.through(reporter, async () => {
      if (failure) reporter.problem(failure)
    })
    const exit = failure ? exitStatus([failure.kind], endedStatus()) : 0
    await reporter.end(summarise(new Map(), 0, exit))
  }
}

/** `lost`: aborted where the lock is lost. */
export function walkOf(
  request: Request,
  rotating: Rotating,
  teller: Teller,
  { limits, lost }: { readonly limits: RunOptions['limits']; readonly lost: AbortSignal },
): Run['walk'] {
  const { signal } = request
  return async (stage) => {
    const graph = graphOf(request, rotating, stage)
    const reporter = await request.reporterFor(viewPhases([...phases, proofPhase, rewritePhase], graph), false)
    return teller.through(reporter, async () => {
      const started = performance.now()
      const { workspace } = rotating
      const { outcomes, findings } = await walk(graph, { workspace, forced: new Map(), limits, signal, lost, reporter })
      const exit = exitStatus(findings, request.endedStatus())
      const closing = { advice: adviseAfter([...graph.values()], outcomes), nextToExpire: undefined }
      await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit, closing))
      return findings
    })
  }
}

function graphOf(request: Request, rotating: Rotating, stage: Stage | undefined): Graph {
  const targets = [...clusterGraph(request.cluster).values()]
  const proofs = stage ? proofTargets(rotating, stage, targets) : []
  const after = proofs.map(({ id }) => id)
  const work = stage?.targets?.(rotating) ?? []
  const more = work.map((target): Target => ({ ...target, after: [...(target.after ?? []), ...after] }))
  return buildGraph([...targets, ...proofs, ...more])
}

/** Its number among the stages, from 1; 0 where none is under way. Throws where the files do not fit together, unless that is undone. */
export function standing({ request, rotation, rotating: { workspace } }: Run): number {
  try {
    return stageNumber(rotation, workspace)
  } catch (error) {
    const isUndone = request.options.undo && rotation.undoesUnclear
    if (isUndone && error instanceof Failure && error.kind === 'refused') return 1
    throw error
  }
}

/** Of a stage, or of the state before all. */
export function heading({ stages, what }: Rotation, stage: Stage | undefined): string {
  if (!stage) return `${what}: before it is rotated, everything is to be as cluster.yaml asks`
  return `${what}, stage ${stages.indexOf(stage) + 1} of ${stages.length}: ${stage.title}`
}

const proofPhase = { name: 'proof', title: 'Proof', makes: 'an answer of each component' }

function proofTargets(rotating: Rotating, { prove, proof }: Stage, earlier: readonly Target[]): Target[] {
  if (!prove) return []
  const { name: phase } = proofPhase
  const after = earlier.filter(({ where }) => where === 'node').map(({ id }) => id)
  return rotating.workspace.cluster.nodes
    .filter(({ role }) => role !== 'gateway')
    .map((node) => ({
      id: `${phase}/${node.name}`,
      phase,
      node: node.name,
      needs: [],
      after,
      makes: [],
      where: 'node',
      // Asking may write, and so is no look.
      check: () => ({ reasons: [{ kind: 'rotation', what: proof }] }),
      build: async (_, { signal }) => ({
        change: { kind: 'proven', units: await prove({ ...rotating, signal }, node) },
      }),
      release: (workspace) => workspace.disconnect(node),
    }))
}
