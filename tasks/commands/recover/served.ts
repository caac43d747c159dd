/** What runs on the control node that is recovered from: files that its API server and etcd show are those of the cluster. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { certificateFile, keyFile } from '../../../lib/files/names.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatNames } from '../../../lib/wording.ts'
import { readShown, type Shown } from '../../nodes/component.ts'
import { clusterCerts } from '../../tables/certs.ts'
import { nodeUnits } from '../../tables/places.ts'
import type { Holding } from './holding.ts'

/** What is shown, by the port; 'nothing' where something listens that shows no certificate. */
export type ShownByPort = ReadonlyMap<number, Shown>

export const servedName = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''

/** Of the ports where the cluster's certificate belongs, those on which something listens. */
export async function readShownByPort(
  workspace: Workspace,
  node: ClusterNode,
  { files, listening }: Holding,
): Promise<ShownByPort> {
  const [certificate, key] = [files.get(certificateFile(servedName)), files.get(keyFile(servedName))]
  const given = { as: certificate && key && { certificate, key } }
  const units = nodeUnits(node, workspace.cluster.install || { units: new Map() })
  const ports = units.flatMap(({ serves }) => serves.filter(({ name }) => name === servedName).map(({ port }) => port))
  const shownOn = async (port: number): Promise<[number, Shown]> => [
    port,
    await readShown({ workspace }, node, port, given),
  ]
  return new Map(await Promise.all(ports.filter((port) => listening.has(port)).map(shownOn)))
}

/** Where what is shown is of none of the CAs. */
export function foreignPorts(shown: ShownByPort, cas: readonly Certificate[]): number[] {
  return portsOf(shown, (der) => der !== 'nothing' && !cas.some(({ publicKey }) => isSignedBy(der, publicKey)))
}

/** What else is to be told: not all that runs there shows the certificate that was found. */
export function describeShown(shown: ShownByPort, { where }: Holding, own: Certificate | undefined): string[] {
  const others = portsOf(shown, (der) => der !== 'nothing' && own?.der.equals(der) === false)
  const silent = portsOf(shown, (der) => der === 'nothing')
  const file = certificateFile(servedName)
  return [
    ...(others.length > 0
      ? [
          `${where}: what runs there on ${formatPorts(others)} shows another certificate of this CA than ${file}: it has not loaded it`,
        ]
      : []),
    ...(silent.length > 0
      ? [
          `${where}: ${file} could not be compared with what runs there on ${formatPorts(silent)}: it shows no certificate through ssh`,
        ]
      : []),
  ]
}

export function formatPorts(ports: readonly number[]): string {
  return `port ${formatNames(ports.map(String))}`
}

function portsOf(shown: ShownByPort, is: (shown: Shown) => boolean): number[] {
  return [...shown].flatMap(([port, der]) => (is(der) ? [port] : []))
}

function isSignedBy(der: Buffer, key: KeyObject): boolean {
  return new X509Certificate(der).verify(key)
}
