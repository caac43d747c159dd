/** What runs on the control node that is recovered from: files that its API server and etcd show are those of the cluster. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { certificateFile, keyFile } from '../../../lib/files/names.ts'
import { readAnswer } from '../../../lib/nodes/frame.ts'
import { listensScript } from '../../../lib/nodes/place.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { readServed } from '../../../lib/tls/probe.ts'
import { formatNames } from '../../../lib/wording.ts'
import { asUnknown, newNonce } from '../../nodes/look.ts'
import { clusterCerts } from '../../tables/certs.ts'
import { nodeUnits } from '../../tables/places.ts'
import { addressOf } from '../../units/verdict.ts'
import type { Holding } from './holding.ts'

/** Milliseconds: for one handshake. */
const timeLimit = 10_000

/** DER of what is shown, by the port; 'nothing' where something listens that shows no certificate. */
export type Shown = ReadonlyMap<number, Buffer | 'nothing'>

export const servedName = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''

/** Of the ports where the cluster's certificate belongs, those on which something listens. */
export async function readShown(workspace: Workspace, node: ClusterNode, { files }: Holding): Promise<Shown> {
  const connection = await workspace.connect(node)
  const [certificate, key] = [files.get(certificateFile(servedName)), files.get(keyFile(servedName))]
  const address = addressOf(node)
  const shownOn = async (port: number): Promise<[number, Buffer | 'nothing']> => {
    const open = () => connection.tunnel(address, port)
    const as = certificate && key && { certificate, key }
    const question = { open, address, as, signal: AbortSignal.timeout(timeLimit) }
    return [port, await readServed(question).catch(() => 'nothing' as const)]
  }
  return new Map(await Promise.all((await listeningPorts(workspace, node)).map(shownOn)))
}

async function listeningPorts({ cluster: { install }, connect }: Workspace, node: ClusterNode): Promise<number[]> {
  const units = nodeUnits(node, install || { units: new Map() })
  const ports = units.flatMap(({ serves }) => serves.filter(({ name }) => name === servedName).map(({ port }) => port))
  const connection = await connect(node)
  const nonce = newNonce()
  try {
    const { records } = readAnswer(await connection.run(listensScript(addressOf(node), ports, nonce)), nonce)
    return ports.filter((port) => records.includes(String(port)))
  } catch (error) {
    throw asUnknown(node, error)
  }
}

/** Where what is shown is of none of the CAs. */
export function foreignPorts(shown: Shown, cas: readonly Certificate[]): number[] {
  return portsOf(shown, (der) => der !== 'nothing' && !cas.some(({ publicKey }) => isSignedBy(der, publicKey)))
}

/** What else is to be told: not all that runs there shows the certificate that was found. */
export function describeShown(shown: Shown, { where }: Holding, own: Certificate | undefined): string[] {
  const others = portsOf(shown, (der) => der !== 'nothing' && own?.x509.raw.equals(der) === false)
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

function portsOf(shown: Shown, is: (der: Buffer | 'nothing') => boolean): number[] {
  return [...shown].flatMap(([port, der]) => (is(der) ? [port] : []))
}

function isSignedBy(der: Buffer, key: KeyObject): boolean {
  return new X509Certificate(der).verify(key)
}
