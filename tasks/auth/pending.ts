/**
 * How a plan is made. A plan is a walk that builds nothing. Where a target would be built, the executor asks the target's
 * `foresee` for the change, and from then on the files of auth/ in that change are pending: `pending` of `Run` has them.
 * A target of auth/ is out of date in a plan if a target that it needs would be built. A target on a node is compared with
 * files of auth/, and these are still the old ones; so each check there takes account of the pending ones itself:
 *
 * | check                               | what is pending         | what the check takes for granted then                |
 * | ----------------------------------- | ----------------------- | ---------------------------------------------------- |
 * | deploy: compareFolder               | any file of the node    | the copy in the folder differs                       |
 * | deploy: newerOn                     | a certificate           | ours is issued now, so the node's is not newer       |
 * | install: wantedAt, `wouldChange`    | a file that a unit reads | the file at the place differs, if the part that the |
 * |                                     |                         | unit reads would change                              |
 * | install: changesCa                  | a kubeconfig            | whether the CA that it trusts would be another       |
 * | install: checkUnitsOf               | a certificate           | the unit serves another, and may reject ours by now  |
 * | revoked: check                      | a client certificate    | the list would have it                               |
 *
 * In a run nothing is pending: what is made before a check is in auth/ by then.
 */
import type { Run } from '../../lib/graph/target.ts'

/** What tells a plan from a run. A function that takes it honours what would be written. */
export type Planned = Pick<Run, 'pending'>

/** True if a plan would write this file of auth/. */
export function isPending({ pending }: Planned, file: string): boolean {
  return pending?.has(file) === true
}
