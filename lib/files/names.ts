/** The names of the files in auth/, spelled nowhere else but in tasks/layouts/. Pure. */
import { publicMode, secretMode } from './plain-file.ts'

export type FileKind = 'certificate' | 'key' | 'kubeconfig' | 'encryption-config' | 'authorization'

/** The certificate that signs the others. */
export const caName = 'ca'
/** It signs those of etcd and its clients, where etcd has a CA of its own. */
export const etcdCaName = 'etcd-ca'
/** It signs the client by which an API server speaks for its users, where there is an aggregation layer. */
export const frontProxyCaName = 'front-proxy-ca'
/** Each is rotated by itself. */
export const caNames = [caName, etcdCaName, frontProxyCaName] as const
export type CaName = (typeof caNames)[number]
export const encryptionConfigFile = 'encryption-config.yaml'
/** By which an API server denies who is revoked. */
export const authorizationConfigFile = 'authorization-config.yaml'
/** The kubeconfig that this names: it has to be there first. */
export const authorizationWebhookFile = 'authorization-webhook.yaml'
export const authorizationFiles: readonly string[] = [authorizationWebhookFile, authorizationConfigFile]
/** What `report` writes for Prometheus. */
export const metricsFile = 'report.prom'
/** The name of what will replace another, while both are in use. */
export const nextName = (name: string): string => `${name}-next`
/** Of a next CA's key, signed by the present CA of that name. */
export const crossName = (name: string): string => `${name}-cross`

const kubeconfigEnding = '.kubeconfig'
export const kubeconfigFile = (name: string): string => name + kubeconfigEnding

interface Naming {
  /** The ends of the names of certificates and keys: `.pem` and `-key.pem`. */
  readonly endings: { readonly certificate: string; readonly key: string }
  /** The names that the rest of the code needs to tell apart, besides the CA's. */
  readonly names: {
    /** What the API server serves, and its identity as a client. */
    readonly api: string
    /** The user with every right. */
    readonly admin: string
    /** Its key signs the tokens of service accounts. */
    readonly tokens: string
  }
}

/** The names of a layout's files, in auth/ and on a node. */
export type FileNames = ReturnType<typeof fileNames>

export function fileNames({ endings, names }: Naming) {
  // A key's ending may end as a certificate's does.
  const byEnding = [
    [endings.key, 'key'],
    [endings.certificate, 'certificate'],
    [kubeconfigEnding, 'kubeconfig'],
  ] as const
  const certificate = (name: string) => name + endings.certificate
  const key = (name: string) => name + endings.key
  /** The name is without the ending. Undefined for a file that is not one of ours. */
  const parse = (file: string): { readonly kind: FileKind; readonly name: string } | undefined => {
    if (file === encryptionConfigFile) return { kind: 'encryption-config', name: file.replace(/\.yaml$/, '') }
    if (authorizationFiles.includes(file)) return { kind: 'authorization', name: file.replace(/\.yaml$/, '') }
    const [ending, kind] = byEnding.find(([end]) => file.endsWith(end) && file.length > end.length) ?? []
    return kind && { kind, name: file.slice(0, -ending.length) }
  }
  return {
    names,
    certificate,
    key,
    pair: (name: string): [certificate: string, key: string] => [certificate(name), key(name)],
    parse,
    /** In auth/ and on a node: others may read only certificates. */
    mode: (file: string) => (parse(file)?.kind === 'certificate' ? publicMode : secretMode),
    /** Shell patterns that match each certificate and key once. */
    patterns: [certificate('*'), ...(endings.key.endsWith(endings.certificate) ? [] : [key('*')])] as const,
  }
}

/** The files that an installed kubeconfig names: certificate and key, which one rename replaces, and the CA that it trusts. */
export function filesBeside(kubeconfig: string): { readonly pair: string; readonly ca: string } {
  const name = kubeconfig.slice(0, -kubeconfigEnding.length)
  return { pair: `${name}-client.pem`, ca: `${name}-ca.pem` }
}
