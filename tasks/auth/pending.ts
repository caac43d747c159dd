/**
 * How a plan is made. A plan is a walk that builds nothing. Where a target would be built, the executor asks the target's
 * `foresee` for the change, and from then on the files of auth/ in that change are pending: `pending` of `Run` has them.
 * A target of auth/ is out of date in a plan if a target that it needs would be built. A target on a node is compared with
 * files of auth/, and these are still the old ones; so each check there takes account of the pending ones itself:
 *
 * | check                | what is pending          | so the check says                                              |
 * | -------------------- | ------------------------ | -------------------------------------------------------------- |
 * | deploy, the folder   | a file that the node has | the copy differs                                               |
 * | deploy, the guards   | a certificate            | ours is issued now, so the node's is not newer                 |
 * | install, wanted.ts   | a file that a unit reads | the file at the place differs, if the part that is read would  |
 * | install, changesCa   | a kubeconfig             | the unit trusts another CA, if the kubeconfig would            |
 * | install, the units   | a certificate            | the unit serves another; how it answers to ours does not count |
 * | revoked              | a client certificate     | the list changes, if it would pin or count the certificate     |
 *
 * In a run nothing is pending: what is made before a check is in auth/ by then.
 */
import type { Run } from '../target.ts'

/** The part of a run that a plan has more. A function that takes them honours what would be written. */
export type PendingFiles = Pick<Run, 'pending'>

/** True if a plan would write this file of auth/. */
export function isPending({ pending }: PendingFiles, file: string): boolean {
  return pending?.has(file) === true
}
