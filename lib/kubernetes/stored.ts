/** What is stored in etcd, read by its JSON gateway: under which key each value is sealed. Values are never passed on. */
import * as v from 'valibot'
import { Failure } from '../failure.ts'

/** A client of etcd's JSON gateway. */
export interface Etcd {
  read(method: 'POST', path: string, body: object): Promise<unknown>
}

/** Where kube-apiserver keeps objects: its --etcd-prefix. */
export const registry = '/registry/'

/** Objects at once: of a megabyte and a half each at the most. */
const page = 25

/** As a value begins that the key has sealed: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
export function sealPrefix({ provider, name }: { readonly provider: string; readonly name: string }): string {
  return `k8s:enc:${provider}:v1:${name}:`
}

/** What is empty is left out by the gateway; the header never is. */
const rangeSchema = v.object({
  header: v.object({ revision: v.string() }),
  kvs: v.optional(v.array(v.object({ key: v.string(), value: v.optional(v.string(), '') })), []),
  more: v.optional(v.boolean(), false),
})

/** The keys in etcd, under a prefix, of what is sealed so; '' stands for what is not sealed. Sorted. */
export async function findSealed(etcd: Etcd, prefix: string, isMeant: (seal: string) => boolean): Promise<string[]> {
  const found: string[] = []
  for await (const { key, seal } of list(etcd, prefix)) if (isMeant(seal)) found.push(key)
  return found
}

/** How many objects there are of each seal. Throws a Failure where there is none: an etcd of another prefix proves nothing. */
export async function countSeals(etcd: Etcd): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for await (const { seal } of list(etcd, registry)) counts.set(seal, (counts.get(seal) ?? 0) + 1)
  if (counts.size > 0) return counts
  throw new Failure(`etcd has nothing under ${registry}`, { remedy: "see kube-apiserver's --etcd-prefix" })
}

async function* list(etcd: Etcd, prefix: string): AsyncGenerator<{ readonly key: string; readonly seal: string }> {
  let from = prefix
  for (;;) {
    const { kvs, more } = await range(etcd, { key: from, range_end: endOf(prefix), limit: page })
    const stored = kvs.map(({ key, value }) => ({ key: decode(key).toString(), seal: sealOf(value) }))
    yield* stored
    const last = stored.at(-1)
    if (!more) return
    if (!last || last.key < from) throw new Failure(`etcd lists ${prefix} in no order`)
    from = `${last.key}\0`
  }
}

/** Throws a Failure where there is nothing under that key. */
export async function readSeal(etcd: Etcd, key: string): Promise<string> {
  const {
    kvs: [found],
  } = await range(etcd, { key })
  if (!found) throw new Failure(`${key} is not in etcd`, { remedy: "see kube-apiserver's --etcd-prefix" })
  return sealOf(found.value)
}

async function range(etcd: Etcd, { key, range_end, ...more }: { key: string; range_end?: string; limit?: number }) {
  const encode = (text: string) => Buffer.from(text).toString('base64')
  const asked = { key: encode(key), ...(range_end && { range_end: encode(range_end) }), ...more }
  const answer = v.safeParse(rangeSchema, await etcd.read('POST', '/v3/kv/range', asked))
  if (answer.success) return answer.output
  // Its issues may quote what is stored.
  throw new Failure('etcd answers with what is no list of keys', { code: 'not-answered' })
}

function decode(base64: string): Buffer {
  return Buffer.from(base64, 'base64')
}

/** `k8s:enc:<provider>:<version>:<key>:`; '' where it is not sealed. */
function sealOf(value: string): string {
  const start = decode(value.slice(0, 1024)).toString('latin1')
  return /^k8s:enc:[^:]+:[^:]+:[^:]+:/.exec(start)?.[0] ?? ''
}

/** The key after all that begin so. */
function endOf(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}
