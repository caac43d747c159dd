/** Which files of auth/ belong on a node, and which of them carry the cluster's identity. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import type { LayoutRules } from '../../lib/cluster/rules.ts'
import {
  caNames,
  crossName,
  encryptionConfigFile,
  type FileNames,
  kubeconfigFile,
  nextName,
} from '../../lib/files/names.ts'
import { once } from '../../lib/files/plain-file.ts'
import { type CertKind, type Layout, NODE, type OfCert } from '../layouts/layout.ts'
import { type LaidOut, layoutOf } from '../layouts/table.ts'

/** The only file that does not belong to a certificate. */
export const encryptionConfig = { file: encryptionConfigFile, on: 'control', label: 'encryption key' } as const

function fileOf(files: FileNames, kind: OfCert, name: string): string {
  return kind === 'kubeconfig' ? kubeconfigFile(name) : files[kind](name)
}

export type Keeping = LaidOut & {
  readonly certificates: Pick<Cluster['certificates'], 'caKeyOnNodes'>
}

/** True for the key of a CA, in a cluster where no node has it. */
export function isKeptOff({ certificates, ...cluster }: Keeping, file: string): boolean {
  return !certificates.caKeyOnNodes && caNames.some((name) => file === layoutOf(cluster).files.key(name))
}

/** In the order of the tables; what is the node's own comes last. */
export function nodeFiles(cluster: Keeping, node: ClusterNode): string[] {
  const { files, certs, nodeCert } = layoutOf(cluster)
  const filesOf = ({ name, on }: CertKind) => (on[node.role] ?? []).map((kind) => fileOf(files, kind, name))
  return [
    ...certs.flatMap(filesOf).filter((file) => !isKeptOff(cluster, file)),
    ...(node.role === encryptionConfig.on ? [encryptionConfig.file] : []),
    ...[nodeCert(node) ?? []].flat().flatMap(filesOf),
  ]
}

/** The files without which a running cluster breaks, with what is lost if they are replaced or removed. */
export function identityFiles(cluster: LaidOut): ReadonlyMap<string, string> {
  return identityIn(layoutOf(cluster))
}

const identityIn = once<ReadonlyMap<string, string>, Layout>(
  ({ files, certs }) =>
    new Map([
      ...certs.flatMap(({ name, irreplaceable }) =>
        irreplaceable ? files.pair(name).map((file): [string, string] => [file, irreplaceable.label]) : [],
      ),
      [encryptionConfig.file, encryptionConfig.label],
    ]),
)

/** A node of such a name would have files of the same names. */
function isReserved({ files, certs }: Layout, name: string): boolean {
  const names = [
    ...certs.map((each) => each.name),
    // During a rotation.
    ...certs.flatMap((each) => (each.irreplaceable ? [nextName(each.name)] : [])),
    // Whether etcd has one of its own is told by that file.
    ...caNames.flatMap((name) => [name, nextName(name), crossName(name)]),
    files.parse(encryptionConfig.file)?.name,
  ]
  return names.includes(name) || files.parse(files.certificate(name))?.kind !== 'certificate'
}

/** Facts that cluster.yaml must not contradict. */
export function known(cluster: LaidOut): LayoutRules {
  const layout = layoutOf(cluster)
  const units = new Map(layout.units.map(({ unit, reads }) => [unit, [...new Set(reads.map(({ file }) => file))]]))
  const kubeletsOn = layout.units
    .filter(({ serves }) => serves.some(({ name }) => name === NODE))
    .flatMap(({ on }) => on)
  return { ...layout, units, kubeletsOn, isReserved: (each) => isReserved(layout, each) }
}
