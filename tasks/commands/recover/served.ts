/** What the API server and etcd serve on the control node that is recovered from: the files found there should be theirs. */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { certificateFile } from '../../../lib/files/names.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatNames } from '../../../lib/wording.ts'
import { readShown, type Shown } from '../../nodes/component.ts'
import { clusterCerts } from '../../tables/certs.ts'
import { nodeUnits } from '../../tables/places.ts'

const name = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''
const file = certificateFile(name)

type Served = 'found' | 'another' | 'foreign' | 'none'

const words: Readonly<Record<Exclude<Served, 'found'>, string>> = {
  foreign: 'a certificate that the CA found there did not sign',
  another: `another certificate of this CA than ${file}, which is not loaded`,
  none: `no certificate through ssh, so ${file} could not be compared with it`,
}

/** Of the ports where the cluster's certificate belongs and a process listens; a sentence for each kind but `found`. */
export async function describeServed(
  workspace: Workspace,
  node: ClusterNode,
  listening: ReadonlySet<number>,
  cas: readonly Certificate[],
): Promise<ReadonlyMap<Served, string>> {
  const units = nodeUnits(node, workspace.cluster.install || { units: new Map() })
  const ports = units.flatMap(({ serves }) => serves.filter((each) => each.name === name).map(({ port }) => port))
  const own = tryCertificate(workspace.auth, name)
  const kindOf = (served: Shown): Served => {
    if (served === 'nothing') return 'none'
    if (own?.der.equals(served)) return 'found'
    const certificate = new X509Certificate(served)
    return cas.some(({ publicKey }) => certificate.verify(publicKey)) ? 'another' : 'foreign'
  }
  const served = await Promise.all(
    ports
      .filter((port) => listening.has(port))
      .map(async (port) => ({ port, kind: kindOf(await readShown({ workspace }, node, port)) })),
  )
  const lines = [...Map.groupBy(served, ({ kind }) => kind)].flatMap(([kind, some]): [Served, string][] => {
    const at = `port ${formatNames(some.map(({ port }) => String(port)))}`
    return kind === 'found' ? [] : [[kind, `${node.name}: what runs there on ${at} serves ${words[kind]}`]]
  })
  return new Map(lines)
}
