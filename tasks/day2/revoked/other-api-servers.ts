/**
 * The API servers that the cluster has beside those of cluster.yaml's control nodes: a control node that became a worker
 * and goes on, a clone, a machine that nobody remembers. Such a one lets in who is revoked, and knows no next CA or key.
 * Each publishes an address, in the EndpointSlice `kubernetes`, and its machine's name, in a lease:
 * https://kubernetes.io/docs/concepts/architecture/leases/#api-server-identity
 */
import * as v from 'valibot'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, tryToAwait } from '../../../lib/failure.ts'
import { caName } from '../../../lib/files/auth-dir.ts'
import { type Client, itemsOf } from '../../../lib/kubernetes/client.ts'
import { parseCounts } from '../../../lib/kubernetes/counts.ts'
import { isIssuedBy, readDerCertificate } from '../../../lib/pki/certificate.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { formatNames, printable } from '../../../lib/wording.ts'
import { type Asking, readMetrics, readMetricsAt, readServedAt } from '../../inspect/component.ts'
import { hostnameOf, isLive, readLeases } from '../install/leases.ts'

export interface OtherApiServers {
  /** Where each is, in a clause: "on worker0". */
  readonly found: readonly string[]
  /** Addresses that the cluster publishes, and that do not answer, as those of API servers that are gone may not. */
  readonly silent: readonly string[]
  /** Why it is not known which there are, in clauses. */
  readonly unknown: readonly string[]
}

const slices = v.object({
  items: itemsOf(
    v.object({
      endpoints: v.nullish(v.array(v.object({ addresses: v.array(v.string()) })), []),
      ports: v.nullish(v.array(v.object({ port: v.nullish(v.number()) })), []),
    }),
  ),
})
const ofKubernetes =
  '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes'

/** The names of machines, as they call themselves. */
interface Hostnames {
  readonly names: ReadonlySet<string>
  /** Of all control nodes. Otherwise addresses alone tell, where the cluster publishes any. */
  readonly isComplete: boolean
}

/** Asked by way of `through`, whose API server `api` is. */
export async function findOtherApiServers(
  asking: Asking,
  through: ClusterNode,
  { api, hostnames }: { readonly api: Client; readonly hostnames: Hostnames },
): Promise<OtherApiServers> {
  const { cluster } = asking.run
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const known = new Set([...controls.flatMap(({ ips }) => ips), cluster.api.virtualIP])
  const published = await readPublished(api)
  const listed = published instanceof Failure ? [] : published
  const isNamed = hostnames.isComplete || (listed === published && listed.length === 0)
  const { leases, now } = isNamed ? await readLeases(api) : { leases: [], now: new Date(0) }
  const named = leases
    .filter((lease) => isLive(lease, now) && !hostnames.names.has(hostnameOf(lease)))
    .map((lease) => `on ${printable(hostnameOf(lease) || 'an unnamed machine')}`)
  const unlisted = listed.filter(({ address }) => !known.has(address))
  const asked = { ...asking, node: through }
  const isOurs = unlisted.length > 0 ? await comparing(asked, controls) : () => Promise.resolve('silent' as const)
  const looks = await Promise.all(unlisted.slice(0, most).map(async (at) => ({ ...at, is: await isOurs(at) })))
  const at = (is: 'another' | 'silent') =>
    looks.flatMap((each) => (each.is === is ? [`at ${printable(each.address)}:${each.port}`] : []))
  const left = unlisted.length - looks.length
  const unknown = [
    ...(published instanceof Failure
      ? [`the addresses that the cluster lists can't be read: ${published.message}`]
      : []),
    ...(left > 0 ? [`${left} more addresses that the cluster lists were not asked`] : []),
  ]
  return { found: [...named, ...at('another')], silent: at('silent'), unknown }
}

/** Where the cluster says that API servers are. None where it has no such API: before Kubernetes 1.21. */
async function readPublished(api: Client): Promise<readonly At[] | Failure> {
  try {
    const { items } = await api.readAs(slices, 'GET', ofKubernetes)
    return (items ?? []).flatMap(({ endpoints, ports }) => {
      const port = ports?.find((each) => each.port)?.port ?? 6443
      return (endpoints ?? []).flatMap(({ addresses }) => addresses.map((address) => ({ address, port })))
    })
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return error.code === 'http-404' ? [] : error
  }
}

/** Addresses that are asked, at most: whoever may write objects of the cluster may publish any number. */
const most = 32

interface At {
  readonly address: string
  readonly port: number
}

/**
 * A control node may publish the address of a second network card: the process that answers there is then the one that
 * answers at the address which cluster.yaml has.
 */
async function comparing(
  asking: Asking & { readonly node: ClusterNode },
  controls: readonly ClusterNode[],
): Promise<(at: At) => Promise<'known' | 'another' | 'silent'>> {
  const { auth } = asking.run
  const startOf = async (read: () => Promise<string>) => {
    const metrics = await tryToAwait(read)
    return Number(metrics === undefined ? Number.NaN : parseCounts(metrics)?.started)
  }
  const starts = await Promise.all(controls.map((node) => startOf(() => readMetrics(asking, node))))
  return async (at) => {
    const served = await tryToAwait(() => readServedAt(asking, at))
    const [certificate, ca] = [served && readDerCertificate(served), tryCertificate(auth, caName)]
    if (!certificate || !ca || !isIssuedBy(certificate, ca)) return 'silent'
    const start = await startOf(() => readMetricsAt(asking, at))
    return starts.includes(start) && !Number.isNaN(start) ? 'known' : 'another'
  }
}

export function formatOther(where: string): string {
  return `the API server ${where}, which is no control node's of cluster.yaml; add the node, or stop the API server`
}

export function formatSilent({ silent }: Pick<OtherApiServers, 'silent'>): string | undefined {
  if (silent.length === 0) return undefined
  return `the cluster lists API servers ${formatNames(silent)}, which do not answer with a certificate of its CA`
}
