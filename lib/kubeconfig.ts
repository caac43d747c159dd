/** A kubeconfig for one client, as `kubectl config set-cluster, set-credentials, set-context, use-context` write it. */
import { isDeepStrictEqual } from 'node:util'
import { Document, parse, visit } from 'yaml'
import { addressBytes } from './address.ts'
import type { Cluster } from './cluster.ts'

export interface Access {
  /** Name of the cluster entry. */
  readonly cluster: string
  readonly server: string
  readonly user: string
  readonly context: string
  /** PEM files, byte for byte. */
  readonly ca: Buffer
  readonly certificate: Buffer
  readonly key: Buffer
}

export function serverUrl({ api }: Cluster): string {
  const isIPv6 = addressBytes(api.host)?.length === 16
  return `https://${isIPv6 ? `[${api.host}]` : api.host}:${api.port}`
}

export function clusterEntry(access: Access): Record<string, string> {
  return { 'certificate-authority-data': access.ca.toString('base64'), server: access.server }
}

export function userEntry(access: Access): Record<string, string> {
  return {
    'client-certificate-data': access.certificate.toString('base64'),
    'client-key-data': access.key.toString('base64'),
  }
}

export function contextEntry({ cluster, user }: Access): Record<string, string> {
  return { cluster, user }
}

export function formatKubeconfig(access: Access): string {
  return stringifyAsKubectl(asData(access))
}

/** Keys in kubectl's order, no indent before a dash, no folded lines; what YAML 1.1 or 1.2 takes for a number is quoted. */
export function stringifyAsKubectl(value: unknown): string {
  const document = new Document(value, { version: '1.1' })
  visit(document, {
    Scalar: (_, scalar) => {
      if (/^[0-9][0-9a-fobx_.:+-]*$/i.test(String(scalar.value))) scalar.type = 'QUOTE_DOUBLE'
    },
  })
  return document.toString({ indentSeq: false, lineWidth: 0 })
}

/** In what the text means something else than the access; undefined where it is no kubeconfig. */
export function compareKubeconfig(text: string, access: Access): string[] | undefined {
  if (text === formatKubeconfig(access)) return []
  const found = parseMap(text)
  if (!found) return undefined
  // kubectl up to 1.33 writes it, and nothing reads it.
  const { preferences, ...rest } = found
  const asked = asData(access)
  return [...new Set([...Object.keys(asked), ...Object.keys(rest)])].filter(
    (key) => !isDeepStrictEqual(rest[key], asked[key]),
  )
}

/** The three PEM files in the text of a kubeconfig for one client; undefined where they are not all there. */
export function readEmbedded(text: string): Pick<Access, 'ca' | 'certificate' | 'key'> | undefined {
  const { clusters, users } = (parseMap(text) ?? {}) as {
    clusters?: [{ cluster?: Fields }]
    users?: [{ user?: Fields }]
  }
  const [ca, certificate, key] = [
    clusters?.[0]?.cluster?.['certificate-authority-data'],
    users?.[0]?.user?.['client-certificate-data'],
    users?.[0]?.user?.['client-key-data'],
  ].map((data) => (typeof data === 'string' ? Buffer.from(data, 'base64') : undefined))
  return ca && certificate && key && { ca, certificate, key }
}

type Fields = Readonly<Record<string, unknown>>

function asData(access: Access): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    clusters: [{ cluster: clusterEntry(access), name: access.cluster }],
    contexts: [{ context: contextEntry(access), name: access.context }],
    'current-context': access.context,
    kind: 'Config',
    users: [{ name: access.user, user: userEntry(access) }],
  }
}

function parseMap(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = parse(text, { maxAliasCount: 100 })
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    // It holds a private key: what exactly could not be read is not passed on.
    return undefined
  }
}
