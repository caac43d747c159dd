/** The names of the files in auth/, spelled nowhere else. Pure. */
import { publicMode, secretMode } from './plain-file.ts'

export type FileKind = 'certificate' | 'key' | 'kubeconfig' | 'encryption-config'

/** The certificate that signs the others. */
export const caName = 'ca'
export const encryptionConfigFile = 'encryption-config.yaml'
/** The name of what will replace another, while both are in use. */
export const nextName = (name: string): string => `${name}-next`
/** The certificate of the next CA's key, signed by the current CA. */
export const crossName = `${caName}-cross`

export const certificateFile = (name: string): string => `${name}.pem`
export const keyFile = (name: string): string => `${name}-key.pem`
export const kubeconfigFile = (name: string): string => `${name}.kubeconfig`
export const pairFiles = (name: string): string[] => [certificateFile(name), keyFile(name)]

export interface FileName {
  readonly kind: FileKind
  /** Without the ending. */
  readonly name: string
}

/** Undefined for a file that is not one of ours. */
export function parseFileName(file: string): FileName | undefined {
  const [, name = '', ending = ''] = /^(.+?)(-key\.pem|\.pem|\.kubeconfig|\.yaml)$/.exec(file) ?? []
  switch (ending) {
    case '.pem':
      return { kind: 'certificate', name }
    case '-key.pem':
      return { kind: 'key', name }
    case '.kubeconfig':
      return { kind: 'kubeconfig', name }
    default:
      return file === encryptionConfigFile ? { kind: 'encryption-config', name } : undefined
  }
}

/** Whether the file name of its certificate would be that of another's key. */
export function isNameOfKey(name: string): boolean {
  return parseFileName(certificateFile(name))?.kind === 'key'
}

/** The mode of a file in auth/ and on a node: others may read only certificates. */
export function fileMode(file: string): number {
  return parseFileName(file)?.kind === 'certificate' ? publicMode : secretMode
}

/** The file with certificate and key of a kubeconfig that names its pair by file: one rename replaces both. */
export function clientPairFile(kubeconfig: string): string {
  return `${parseFileName(kubeconfig)?.name}-client.pem`
}
