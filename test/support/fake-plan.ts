/** A leaf, the config made of it, and two nodes that get both: what a dry run of them plans. */
import { stripVTControlCharacters } from 'node:util'
import type { Reason, Verdict } from '../../lib/reason.ts'
import { buildGraph } from '../../lib/targets/graph.ts'
import type { Target } from '../../lib/targets/target.ts'
import { planSteps } from '../../lib/views/plan.ts'
import { createPlanLines, type PlanLinesOptions } from '../../lib/views/plan-lines.ts'
import { type Reporter, summarise, viewPhases } from '../../lib/views/reporter.ts'
import { fakeTarget, fresh, runFakes } from './fake-target.ts'

export const changed: Verdict = { reasons: [{ kind: 'san-changed', added: ['192.168.1.22'], removed: [] }] }
export const missing = (...paths: string[]): Verdict => ({ reasons: paths.map((path) => ({ kind: 'missing', path })) })
export const onNode = (told: Partial<Reason & { kind: 'on-node' }>): Verdict => ({
  reasons: [
    { kind: 'on-node', missing: [], differ: [], wrongMode: [], wrongOwner: [], pruned: [], leftovers: [], ...told },
  ],
})

const phases = ['leaf', 'config', 'deploy'].map((name) => ({ name, title: `The ${name}s` }))

/** All of them fresh unless told otherwise. */
export function fakeCluster(verdicts: Readonly<Record<string, Verdict>>): Target[] {
  const target = (id: string, told: Partial<Target>) => fakeTarget(id, { check: () => verdicts[id] ?? fresh, ...told })
  const needs = ['leaf', 'config/a']
  return [
    target('leaf', { makes: ['leaf.pem', 'leaf-key.pem'], restarts: ['server', 'store'] }),
    target('config/a', { needs: ['leaf'], makes: ['a.config'], restarts: ['client'] }),
    target('deploy/one', { needs, where: 'node', node: 'one' }),
    target('deploy/two', { needs, where: 'node', node: 'two' }),
  ]
}

export async function planFakes(all: readonly Target[]) {
  const views = viewPhases(phases, buildGraph(all))
  const outcomes = await runFakes(all, { dryRun: true }).outcomes
  const steps = planSteps(views, outcomes).map(({ phase, follows, targets, ...rest }) => ({
    ids: targets.map(({ id }) => id),
    follows: follows.map(({ id }) => id),
    ...rest,
  }))
  /** As they are written, without a colour; progress says when it ends. */
  const tell = async (options: Partial<Pick<PlanLinesOptions, 'width' | 'detail'>> = {}) => {
    const told: string[] = []
    const nothing = () => {}
    const end = async () => void told.push('the progress ends')
    const progress: Reporter = { event: nothing, note: nothing, problem: nothing, end }
    const write = (text: string) => void told.push(text)
    await createPlanLines({ phases: views, detail: 'normal', width: 80, write, ...options }, progress).end(
      summarise(outcomes, 0.3, 4),
    )
    return told.map(stripVTControlCharacters)
  }
  return { outcomes, steps, tell }
}
