/** Compares this machine's clock with a node's, before files that are dated by it are copied there. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

/** Seconds; certificates are dated back by five minutes. */
const mostApart = 240

/** The least that explains what was seen: the node's answer was on its way for some time. */
function aheadOf(theirs: number, asked: Date, answered: Date): number {
  const [earliest, latest] = [asked.getTime() / 1000, answered.getTime() / 1000]
  return theirs > latest ? theirs - latest : theirs + 1 < earliest ? theirs + 1 - earliest : 0
}

const timeOf = (now: Date, ahead: number) =>
  new Date(now.getTime() + ahead * 1000).toISOString().replace(/\.\d+Z$/, 'Z')

/**
 * Throws a Failure if the node's clock, `theirs` when it was looked at, is not this machine's: no file is copied to it
 * then.
 */
export function refuseWrongClock(run: Run, { name }: ClusterNode, theirs: number, asked: Date): void {
  const now = run.clock()
  const ahead = aheadOf(theirs, asked, now)
  if (Math.abs(ahead) > mostApart) throw differing(name, now, ahead)
}

/**
 * Throws a Failure if the certificates of the node, which units may be given, are not valid yet by its clock, `theirs`.
 * Those that are not by ours either are reissued before any is deployed.
 */
export function refuseEarlyClock({ auth, cluster, now }: Run, node: ClusterNode, theirs: number): void {
  const ahead = theirs - now.getTime() / 1000
  for (const file of nodeFiles(cluster, node)) {
    const { notBefore } = tryCertificate(auth, auth.files.parse(file)?.name ?? '') ?? {}
    if (notBefore && notBefore <= now && notBefore.getTime() > theirs * 1000) throw differing(node.name, now, ahead)
  }
}

function differing(node: string, now: Date, ahead: number): Failure {
  return new Failure(`clocks differ (${timeOf(now, 0)} here, ${timeOf(now, ahead)} on ${node})`, {
    node,
    code: 'clock',
    remedy: `set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`,
  })
}
