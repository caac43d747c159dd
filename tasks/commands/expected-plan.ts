/** `--expect-plan`: the run looks as a plan does, and goes on only if it would do just that. */
import { keepTo, otherPlan, planOf } from '../../lib/graph/actions.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import { formatFailures } from '../../lib/show/reporter.ts'
import { look, type Scope } from '../request/look.ts'
import type { Session } from '../request/session.ts'

/** The targets, none of which does anything else than it would do now. Throws a refusal if that is another plan. */
export async function readPlanned(session: Session, scope: Scope, expected: string): Promise<Graph> {
  const { workspace, outcomes } = await look(session, { ...scope, foresees: true })
  const plan = planOf(scope.graph, outcomes, workspace)
  if (!plan)
    throw otherPlan(
      ['not everything could be looked at, so nothing was done:', ...formatFailures(outcomes)].join('\n'),
      workspace,
    )
  if (plan.hash !== expected)
    throw otherPlan(`what would be done is another plan, ${plan.hash}: nothing was done`, workspace)
  return keepTo(plan, scope.graph)
}
