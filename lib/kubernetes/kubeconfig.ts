/** A kubeconfig for one client, as `kubectl config set-cluster, set-credentials, set-context, use-context` write it. */
import { isDeepStrictEqual } from 'node:util'
import { bracketed } from '../address.ts'
import { isMap } from '../cluster/problem.ts'
import { filesBeside } from '../files/auth-dir.ts'
import { parseYaml } from '../yaml.ts'

export interface KubeconfigAccess {
  readonly cluster: string
  readonly server: string
  readonly user: string
  readonly context: string
  readonly ca: Buffer
  readonly certificate: Buffer
  readonly key: Buffer
}

export function serverUrl(host: string, port: number): string {
  return `https://${bracketed(host)}:${port}`
}

export function formatKubeconfig({ ca, certificate, key, ...access }: KubeconfigAccess): string {
  const [cluster, server, user, context] = [access.cluster, access.server, access.user, access.context].map(scalarText)
  return `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ${ca.toString('base64')}
    server: ${server}
  name: ${cluster}
contexts:
- context:
    cluster: ${cluster}
    user: ${user}
  name: ${context}
current-context: ${context}
kind: Config
users:
- name: ${user}
  user:
    client-certificate-data: ${certificate.toString('base64')}
    client-key-data: ${key.toString('base64')}
`
}

/** What YAML 1.1 and 1.2 take for a text as it stands: no boolean, no null, no `key:`, nothing near a number. */
const plainText = /^(?!(?:y|n|yes|no|on|off|true|false|null|e[-+]?\d+)$)[a-z/](?:[\w./@:+=-]*[\w=])?$/i

/** A YAML scalar, in quotes where it could be read as anything else. */
export function scalarText(text: string): string {
  return plainText.test(text) ? text : JSON.stringify(text)
}

/** Top-level keys whose meaning differs; undefined if the text is not a kubeconfig. */
export function compareKubeconfig(text: string, access: KubeconfigAccess): string[] | undefined {
  const desiredText = formatKubeconfig(access)
  if (text === desiredText) return []
  const [found, desired] = [parseFields(text), parseFields(desiredText)]
  if (!found || !desired || Object.keys(found).length === 0) return undefined
  // kubectl up to 1.33 writes it, and nothing reads it.
  delete found.preferences
  return [...new Set([...Object.keys(desired), ...Object.keys(found)])].filter(
    (key) => !isDeepStrictEqual(found[key], desired[key]),
  )
}

/**
 * The PEM files that are embedded in a kubeconfig, of several the first: an absent one is undefined. Not by a YAML
 * parser: the text may be a node's, and of any kind.
 */
export function readEmbedded(text: string) {
  const [ca, certificate, key] = embedded.map((name) => {
    const [, data] = new RegExp(`${name}-data["']?:[ \\t]*["']?([A-Za-z0-9+/=]+)`).exec(text) ?? []
    return data === undefined ? undefined : Buffer.from(data, 'base64')
  })
  return { ca, certificate, key }
}

const embedded = ['certificate-authority', 'client-certificate', 'client-key']

/**
 * What a component reads of a kubeconfig: the kubeconfig, which names a pair and a CA by files in the same folder, and
 * these files. client-go reloads a pair that is named by file (client-go/transport/cert_rotation.go), and from
 * Kubernetes 1.36 on a CA (ca_rotation.go); it never reloads an embedded one.
 */
export type Part = 'kubeconfig' | 'pair' | 'ca'

const data = embedded.map((name) => new RegExp(`^( *${name})-data: (.*)$`, 'gm'))

/** Undefined if they are not each embedded on a line of their own, as kubectl writes them. */
export function partOf(text: string, part: Part, kubeconfig: string): Buffer | undefined {
  const lines = data.map((line) => [...text.matchAll(line)])
  if (lines.some(({ length }) => length !== 1)) return undefined
  const [ca = Buffer.alloc(0), ...pair] = lines.map(([match]) => Buffer.from(match?.[2] ?? '', 'base64'))
  if (part === 'ca') return ca
  if (part === 'pair') return Buffer.concat(pair.flatMap((pem) => [pem, Buffer.from('\n')]))
  // What kubectl up to 1.33 writes is left out, so that the kubeconfig stays the same when we write it anew: no restart
  // for that.
  const own = text.replace(/^preferences: \{\}\n/m, '')
  const beside = filesBeside(kubeconfig)
  const names = [beside.ca, beside.pair, beside.pair]
  const named = data.reduce((changed, line, i) => changed.replace(line, `$1: ${names[i]}`), own)
  return Buffer.from(named)
}

/** The name and the server of its first cluster; undefined if it is not written as in ours. */
export function readServer(text: string): { cluster: string; host: string; port: number } | undefined {
  const { clusters } = (parseFields(text) ?? {}) as { clusters?: [{ name?: unknown; cluster?: Fields }] }
  const { name, cluster } = clusters?.[0] ?? {}
  const url = URL.parse(String(cluster?.server))
  if (typeof name !== 'string' || url?.protocol !== 'https:') return undefined
  return { cluster: name, host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443) }
}

export type Fields = Record<string, unknown>

/**
 * The map that the text holds, an empty one for nothing; undefined for anything else, and for a text with aliases: each
 * may cost the parser as much as the whole text.
 */
export function parseFields(text: string): Fields | undefined {
  try {
    const document = parseYaml(text, { merge: true })
    if (document.errors.length > 0) return undefined
    const value: unknown = document.toJS({ maxAliasCount: 0 }) ?? {}
    return isMap(value) ? value : undefined
  } catch {
    // The error is dropped: it could quote a private key.
    return undefined
  }
}
