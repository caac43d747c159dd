/** The list of who is revoked, on nodes: whether API servers enforce it, and what their owner has to change. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../../lib/cluster/problem.ts'
import { Failure, tryToAwait } from '../../../lib/failure.ts'
import { authorizationConfigFile, authorizationFiles } from '../../../lib/files/auth-dir.ts'
import { formatAuthorizers, reviewOfCounters, reviewsOf } from '../../../lib/kubernetes/authorization.ts'
import type { Client } from '../../../lib/kubernetes/client.ts'
import { countersOf } from '../../../lib/kubernetes/counters.ts'
import { type Counts, parseCounts } from '../../../lib/kubernetes/counts.ts'
import { listIn } from '../../../lib/kubernetes/revocation.ts'
import { nobody } from '../../../lib/kubernetes/revoked-list.ts'
import { fileAt, type PlacesState } from '../../../lib/node/state.ts'
import { pasteable } from '../../../lib/wording.ts'
import { readMetrics, withApi } from '../../inspect/component.ts'
import type { UnitOnNode } from '../../inspect/reads.ts'
import { apiServer } from '../../layouts/layout.ts'
import { authorizationWebhookPath } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import type { OtherApiServers } from './other-api-servers.ts'

/** GA of --authorization-config: https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/ */
const oldest = 32

export interface ListInForce {
  /** It denies everybody on the list in auth/, before Node or RBAC allows anything. */
  readonly isLoaded: boolean
  /** It counts the requests of all certificates of that list. */
  readonly isCounting: boolean
  /** API servers that are no control node's of cluster.yaml; undefined if they were not looked for. */
  readonly others?: OtherApiServers | undefined
  /** It is Kubernetes 1.X; undefined if its answer does not tell. */
  readonly minor?: number | undefined
}

/** What an API server says of the list; undefined if it did not answer, or cluster.yaml has none. */
export async function readInForce(
  run: Run,
  node: ClusterNode,
  look?: (api: Client) => Promise<OtherApiServers>,
): Promise<ListInForce | undefined> {
  const { auth, cluster } = run
  if (!cluster.revoked) return undefined
  const list = listIn(auth) ?? nobody
  return tryToAwait(() =>
    withApi({ run }, node, async (api) => {
      const minor = minorOf(await api.read('GET', '/version'))
      const isDenied = async (spec: object) => {
        const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec }
        const answer = await api.read('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', review)
        return 'status' in answer && (answer.status as { readonly denied?: unknown } | null)?.denied === true
      }
      // One after the other, over one connection.
      let isLoaded = true
      for (const spec of reviewsOf(list)) isLoaded = isLoaded && (await isDenied(spec))
      const isCounting = isLoaded && (countersOf(list).length === 0 || (await isDenied(reviewOfCounters(list))))
      return { isLoaded, isCounting, others: await look?.(api), minor }
    }),
  )
}

/** The same, with the API servers of others. `hostname`: what the node's machine calls itself. */
export async function readWithOthers(run: Run, node: ClusterNode, hostname: string | undefined) {
  const controls = run.cluster.nodes.filter(({ role }) => role === 'control').map(({ name }) => name)
  // What the machines of other control nodes call themselves is not known here: they may have the same domain.
  const domain = hostname?.startsWith(`${node.name}.`) ? hostname.slice(node.name.length) : ''
  const names = new Set([hostname ?? '', ...controls, ...controls.map((name) => name + domain)])
  return readInForce(run, node, async (api) => {
    const { findOtherApiServers } = await import('./other-api-servers.ts')
    return findOtherApiServers({ run }, node, { api, hostnames: { names, isComplete: false } })
  })
}

/** Undefined if it did not answer. */
export async function readCounts(run: Run, node: ClusterNode): Promise<Counts | undefined> {
  const metrics = await tryToAwait(() => readMetrics({ run }, node))
  return metrics === undefined ? undefined : parseCounts(metrics)
}

/** Throws a Failure for an API server that can't be started with the list, or does not enforce what it has. */
export function refuseOldApi(
  { auth }: Run,
  node: ClusterNode,
  units: readonly UnitOnNode[],
  { minor }: Pick<ListInForce, 'minor'>,
): void {
  if (minor === undefined || minor >= oldest) return
  const isUnset = units.some(({ flags }) => flags.unset.some(({ file }) => file === authorizationConfigFile))
  const { entries, counted = [] } = listIn(auth) ?? nobody
  // An older one may be started with it, and knows no fingerprint.
  if (!isUnset && counted.length === 0 && !entries.some(isKeyEntry)) return
  throw new Failure(`${apiServer} is Kubernetes 1.${minor}, but revoked needs 1.${oldest}`, {
    node: node.name,
    code: 'too-old',
    remedy:
      'upgrade it, or remove revoked from cluster.yaml; until then, see docs/bad-day.md, "A key that may have leaked"',
  })
}

/** Of Kubernetes 1.X, by the answer to /version; a provider may add a plus. */
export function minorOf(answer: object): number | undefined {
  const { major, minor }: { readonly major?: unknown; readonly minor?: unknown } = answer
  const number = Number.parseInt(String(minor), 10)
  return major === '1' && !Number.isNaN(number) ? number : undefined
}

/** Both are there, so that the API server may be started with them. */
export function isListPlaced(found: { readonly units: readonly UnitOnNode[]; readonly places: PlacesState }): boolean {
  const places = found.units.flatMap(({ files }) => files.filter(({ file }) => authorizationFiles.includes(file)))
  return places.every(({ path }) => fileAt(found.places, path))
}

/** For an API server with a configuration of its owner's own. */
export function formatOwned({ auth, cluster }: Run, why: string): string {
  const authorizers = formatAuthorizers(listIn(auth) ?? nobody, authorizationWebhookPath(cluster))
  return `${apiServer} keeps its configuration because ${why}; for revoked, put these authorizers before all others in the file of --authorization-config\n${pasteable(authorizers)}`
}
