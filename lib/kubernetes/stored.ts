/**
 * What is stored in etcd, read by its JSON gateway: which key each value is encrypted with. Values are never passed on.
 */
import * as v from 'valibot'
import { Failure } from '../failure.ts'
import type { Client } from './client.ts'

type Etcd = Pick<Client, 'read'>

/** Where kube-apiserver keeps objects: its --etcd-prefix. */
export const registry = '/registry/'

/** Objects per query, of at most a megabyte and a half each. */
const page = 25

/** https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
export function encryptedPrefix({ provider, name }: { readonly provider: string; readonly name: string }): string {
  return `k8s:enc:${provider}:v1:${name}:`
}

/** The gateway leaves out what is empty, but never the header. */
const rangeSchema = v.object({
  header: v.object({ revision: v.string() }),
  kvs: v.optional(v.array(v.object({ key: v.string(), value: v.optional(v.string(), '') })), []),
  more: v.optional(v.boolean(), false),
})

/** The sorted keys in etcd, below a folder, of values with a matching prefix; '' stands for not encrypted. */
export async function findStored(etcd: Etcd, folder: string, isMeant: (prefix: string) => boolean): Promise<string[]> {
  const found: string[] = []
  for await (const { key, encryptedBy } of list(etcd, folder)) if (isMeant(encryptedBy)) found.push(key)
  return found
}

/** The number of objects by prefix. Throws a Failure if there is none, as with another --etcd-prefix. */
export async function countEncrypted(etcd: Etcd): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for await (const { encryptedBy } of list(etcd, registry)) counts.set(encryptedBy, (counts.get(encryptedBy) ?? 0) + 1)
  if (counts.size > 0) return counts
  throw new Failure(`etcd has nothing under ${registry}`, { remedy: 'check --etcd-prefix of kube-apiserver' })
}

async function* list(
  etcd: Etcd,
  prefix: string,
): AsyncGenerator<{ readonly key: string; readonly encryptedBy: string }> {
  let from = prefix
  for (;;) {
    const { kvs, more } = await range(etcd, { key: from, range_end: endOf(prefix), limit: page })
    const stored = kvs.map(({ key, value }) => ({ key: decode(key).toString(), encryptedBy: prefixOf(value) }))
    yield* stored
    const last = stored.at(-1)
    if (!more) return
    if (!last || last.key < from) throw new Failure(`etcd returned the keys of ${prefix} out of order`)
    from = `${last.key}\0`
  }
}

/** The prefix of the value; throws a Failure if nothing has that key. */
export async function readEncryptedBy(etcd: Etcd, key: string): Promise<string> {
  const {
    kvs: [found],
  } = await range(etcd, { key })
  if (!found) throw new Failure(`${key} is not in etcd`, { remedy: 'check --etcd-prefix of kube-apiserver' })
  return prefixOf(found.value)
}

async function range(etcd: Etcd, { key, range_end, ...more }: { key: string; range_end?: string; limit?: number }) {
  const query = { key: encode(key), ...(range_end && { range_end: encode(range_end) }), ...more }
  return await etcd.read(rangeSchema, 'POST', '/v3/kv/range', query)
}

function decode(base64: string): Buffer {
  return Buffer.from(base64, 'base64')
}

/** `k8s:enc:<provider>:<version>:<key>:`; '' if it is not encrypted. */
function prefixOf(value: string): string {
  const start = decode(value.slice(0, 1024)).toString('latin1')
  return /^k8s:enc:[^:]+:[^:]+:[^:]+:/.exec(start)?.[0] ?? ''
}

/** The first key after all that begin with the prefix. */
function endOf(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}

const encode = (text: string) => Buffer.from(text).toString('base64')
