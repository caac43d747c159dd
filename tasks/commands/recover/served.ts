/** What the API server and etcd serve on the control node that is recovered from: the files found there should be theirs. */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { certificateFile } from '../../../lib/files/names.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { formatNames } from '../../../lib/wording.ts'
import { readShown, type Shown } from '../../nodes/component.ts'
import { clusterCerts } from '../../tables/certs.ts'
import { nodeUnits } from '../../tables/places.ts'

const name = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''
const file = certificateFile(name)

interface Served {
  /** What no CA of `cas` has signed. */
  readonly foreign: readonly string[]
  readonly notes: readonly string[]
}

/** In words, of the ports where the cluster's certificate belongs and a process listens. */
export async function describeServed(
  found: Workspace,
  node: ClusterNode,
  listening: ReadonlySet<number>,
  cas: readonly Certificate[],
): Promise<Served> {
  const units = nodeUnits(node, found.cluster.install || { units: new Map() })
  const ports = units.flatMap(({ serves }) => serves.filter((each) => each.name === name).map(({ port }) => port))
  const open = ports.filter((port) => listening.has(port))
  const served = await Promise.all(open.map((port) => readShown({ workspace: found }, node, port)))
  const isOurs = (der: Buffer) => cas.some(({ publicKey }) => new X509Certificate(der).verify(publicKey))
  const own = tryCertificate(found.auth, name)?.der
  const describe = (what: string, is: (each: Shown) => boolean) => {
    const some = open.filter((_, i) => is(served[i] ?? 'nothing'))
    const at = formatNames(some.map(String))
    return some.length > 0 ? [`${node.name}: what runs there on port ${at} serves ${what}`] : []
  }
  return {
    foreign: describe('a certificate that its CA did not sign', (each) => each !== 'nothing' && !isOurs(each)),
    notes: [
      ...describe(`another certificate of its CA than ${file}, which it has not loaded`, (each) =>
        each !== 'nothing' && isOurs(each) && own?.equals(each) === false),
      ...describe(`no certificate through ssh, to compare ${file} with`, (each) => each === 'nothing'),
    ],
  }
}
