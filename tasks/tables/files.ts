/** Which files of auth/ belong on a node, and which of them carry the cluster's identity. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Known } from '../../lib/cluster/rules.ts'
import {
  certificateFile,
  crossName,
  encryptionConfigFile,
  type FileKind,
  keyFile,
  kubeconfigFile,
  nextName,
  pairFiles,
  parseFileName,
} from '../../lib/files/names.ts'
import { type CertUse, clusterCerts, nodeCerts } from './certs.ts'
import { knownUnits } from './places.ts'

/** The only file that does not belong to a certificate. */
export const encryptionConfig = { file: encryptionConfigFile, on: 'control', label: 'encryption key' } as const

const fileOf: Readonly<Record<FileKind, (name: string) => string>> = {
  certificate: certificateFile,
  key: keyFile,
  kubeconfig: kubeconfigFile,
  'encryption-config': () => encryptionConfig.file,
}

/** In the order of the tables; what is the node's own comes last. */
export function nodeFiles(node: ClusterNode): string[] {
  const filesOf = ({ name, on }: CertUse) => (on[node.role] ?? []).map((kind) => fileOf[kind](name))
  return [
    ...clusterCerts.flatMap(filesOf),
    ...(node.role === encryptionConfig.on ? [encryptionConfig.file] : []),
    ...nodeCerts(node).flatMap(filesOf),
  ]
}

/** The files without which a running cluster breaks, with what is lost if they are replaced or removed. */
export const identityFiles: ReadonlyMap<string, string> = new Map([
  ...clusterCerts.flatMap(({ name, irreplaceable }) =>
    irreplaceable ? pairFiles(name).map((file): [string, string] => [file, irreplaceable.label]) : [],
  ),
  [encryptionConfig.file, encryptionConfig.label],
])

/** A node of such a name would have files of the same names. */
const reservedNames: ReadonlySet<string> = new Set(
  [
    ...clusterCerts.map(({ name }) => certificateFile(name)),
    // During a rotation.
    ...clusterCerts.flatMap(({ name, irreplaceable }) => (irreplaceable ? [certificateFile(nextName(name))] : [])),
    certificateFile(crossName),
    encryptionConfig.file,
  ].flatMap((file) => parseFileName(file)?.name ?? []),
)

/** Facts that cluster.yaml must not contradict. */
export const known: Known = { reservedNames, units: knownUnits }
