/**
 * Who still uses a certificate of the CA that `rotate ca --finish` ends, as API servers count; and who is refused once
 * one has it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../../lib/failure.ts'
import { caName } from '../../../lib/files/auth-dir.ts'
import { type Counter, countersOf } from '../../../lib/kubernetes/counters.ts'
import { type Counts, countOf, isCounting } from '../../../lib/kubernetes/counts.ts'
import { knownCertificates, listIn } from '../../../lib/kubernetes/revocation.ts'
import { nobody } from '../../../lib/kubernetes/revoked-list.ts'
import { type Certificate, isIssuedBy } from '../../../lib/pki/certificate.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { count, formatNames, printable } from '../../../lib/wording.ts'
import { acceptedCertificates, isCountable } from '../../auth/accepted.ts'
import { withApi } from '../../inspect/component.ts'
import { repeat } from '../../inspect/look.ts'
import type { Run } from '../../target.ts'
import { isLive, readLeases } from '../install/leases.ts'
import { readCounts, readInForce } from '../revoked/list-in-force.ts'
import type { Rotating } from './rotation.ts'

/**
 * Of certificates that the CA which the last stage ends has signed: those that API servers count, of which some may be
 * unknown to auth/, and those that the list has no room for.
 */
function readOld(run: Run): { readonly counters: Counter[]; readonly uncounted: string[] } {
  const { auth } = run
  const ca = tryCertificate(auth, caName)
  const isOld = (certificate: Certificate) => ca !== undefined && isIssuedBy(certificate, ca)
  const list = listIn(auth) ?? nobody
  const counted = new Set(list.counted?.map(({ fingerprint }) => fingerprint))
  const others = new Set(
    knownCertificates(auth).flatMap(({ certificate, fingerprint }) => (isOld(certificate) ? [] : fingerprint)),
  )
  const open = acceptedCertificates(run).filter(
    (each) => each.file && isOld(each.file.certificate) && isCountable(each) && !each.isDenied,
  )
  return {
    counters: countersOf(list).filter(({ certificates }) =>
      certificates.some(({ fingerprint }) => !others.has(fingerprint)),
    ),
    uncounted: [...new Set(open.flatMap(({ fingerprint, user }) => (counted.has(fingerprint) ? [] : user)))],
  }
}

/**
 * A clause for each, and for what is not known. Everybody has loaded the new certificates by now: whoever goes on with
 * one of the old CA would be refused. A client has a request in that time: a watch lasts 5 to 10 minutes, and a
 * kubeconfig's files are read every 5.
 */
export async function usersOfOldCa(rotating: Rotating, say: (text: string) => void): Promise<string[]> {
  const { run, signal } = rotating
  if (!run.cluster.revoked) return []
  const { counters, uncounted } = readOld(run)
  if (uncounted.length > 0)
    return [
      `requests with earlier certificates of ${formatNames(uncounted)} are not counted; the list has no room for them`,
    ]
  const nodes = run.cluster.nodes.filter(({ role }) => role === 'control')
  const read = () =>
    run.limits.node.map(nodes, async (node) =>
      (await readInForce(run, node))?.isCounting ? readCounts(run, node) : undefined,
    )
  const before = await read()
  const blind = nodes.filter((_, i) => !(before[i] && isCounting(before[i])))
  if (blind.length > 0) return [`no requests are counted on ${formatNames(blind.map(({ name }) => name))}`]
  const left = counters.flatMap((counter) => before.map((each) => (each ? leftToCount(run, counter, each) : 0)))
  await wait(Math.max(0, ...left), 'for requests with certificates of the old CA', { say, signal })
  const after = await read()
  return whoUsed(
    counters,
    nodes.map(({ name }, i) => ({ name, before: before[i], after: after[i] })),
  )
}

interface SeenOn {
  readonly name: string
  readonly before: Counts | undefined
  readonly after: Counts | undefined
}

/** A clause for each user that was counted meanwhile, and for each API server that has not counted all the time. */
export function whoUsed(counters: readonly Counter[], seen: readonly SeenOn[]): string[] {
  const used = counters.flatMap((counter) => {
    const more = ({ before, after }: SeenOn) =>
      before && after ? countOf(after, counter) - countOf(before, counter) : 0
    const on = seen.filter((each) => more(each) > 0)
    const { users } = counter
    const who = `${users.length > 1 ? 'one of ' : ''}${formatNames(users)}`
    const times = count(
      on.reduce((sum, each) => sum + more(each), 0),
      'request',
    )
    return on.length > 0
      ? [`${who} made ${times} with a certificate of the old CA (${formatNames(on.map(({ name }) => name))})`]
      : []
  })
  const isLess = ({ before, after }: SeenOn) =>
    counters.some((counter) => before && after && countOf(after, counter) < countOf(before, counter))
  const lost = seen.filter(
    (each) => !each.before || Number(each.before.loaded) !== Number(each.after?.loaded) || isLess(each),
  )
  return [...used, ...lost.map(({ name }) => `the API server of ${name} did not count the whole time`)]
}

/** Milliseconds. What nobody has used since the API server counts it need not be counted longer. */
export function leftToCount(
  { waits, clock }: Pick<Run, 'waits' | 'clock'>,
  counter: Pick<Counter, 'name'>,
  counts: Counts,
): number {
  const all = waits.counted * 1000
  if (countOf(counts, counter) > 0) return all
  return Math.min(all, Number(counts.loaded) + all - clock().getTime())
}

/** Milliseconds. */
async function wait(
  time: number,
  why: string,
  { say, signal }: { readonly say: (text: string) => void; readonly signal: AbortSignal },
): Promise<void> {
  if (time <= 0) return
  say(`waiting ${Math.ceil(time / 60_000)} min ${why}`)
  await delay(time, undefined, { signal })
}

/** Milliseconds in which a kubelet, a scheduler or a controller manager that is well renews its lease again. */
const renewing = 60_000

/**
 * Call it before an API server trusts the new CA alone, and what it returns afterwards: that throws a Failure if a
 * lease is not renewed any more, and tells how many requests have failed for their credentials.
 */
export async function watchClients(rotating: Rotating, node: ClusterNode): Promise<() => Promise<void>> {
  const { run, signal } = rotating
  const readRenewals = () =>
    withApi(rotating, node, async (api) => {
      const { leases, now } = await readLeases(api, 'leases')
      const own = leases.filter(
        ({ metadata: { name, namespace } }) =>
          namespace === 'kube-node-lease' ||
          (namespace === 'kube-system' && /^kube-(scheduler|controller-manager)$/.test(name)),
      )
      return {
        live: own.filter((each) => isLive(each, now)),
        times: new Map(own.map(({ metadata: { name }, spec }) => [name, spec.renewTime])),
      }
    })
  const before = await readCounts(run, node)
  const first = await tryToAwait(readRenewals)
  // One that did not answer before is what the run may repair.
  if (!first) return async () => {}
  return async () => {
    const { times: begun } = await readRenewals()
    const look = async () => {
      const { times } = await readRenewals()
      const still = first.live.filter(
        ({ metadata: { name } }) => times.has(name) && times.get(name) === begun.get(name),
      )
      return still.length > 0 ? formatNames(still.map(({ metadata: { name } }) => printable(name))) : undefined
    }
    const still = await repeat(renewing, look, signal)
    const after = await readCounts(run, node)
    const earlier = Number(before?.started) === Number(after?.started) ? (before?.unauthenticated ?? 0) : 0
    const failed = (after?.unauthenticated ?? 0) - earlier
    if (failed > 0)
      run.note(
        `${node.name} rejected ${count(failed, 'request')} as unauthenticated since it trusts only the next CA; ${earlier} before that, since its start`,
      )
    if (still !== undefined)
      throw new Failure(
        `${still} renewed no lease for ${renewing / 1000} s since the API server trusts only the next CA`,
        {
          node: node.name,
          remedy: `check the logs of ${still}; the next control nodes still trust both CAs; to continue, ${runAgain}`,
        },
      )
  }
}
