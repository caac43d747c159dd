/** What is stored in etcd, read by its JSON gateway: under which key each value is sealed. Values are never passed on. */
import { Failure } from '../failure.ts'

/** A client of etcd's JSON gateway. */
export interface Etcd {
  read(method: 'POST', path: string, body: object): Promise<unknown>
}

/** Where kube-apiserver keeps objects: its --etcd-prefix. */
export const registry = '/registry/'

/** Objects at once: of a megabyte each at the most. */
const page = 100

/** As a value begins that the key has sealed: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
export function sealPrefix({ provider, name }: { readonly provider: string; readonly name: string }): string {
  return `k8s:enc:${provider}:v1:${name}:`
}

interface Range {
  readonly kvs?: readonly { readonly key?: string; readonly value?: string }[]
  readonly more?: boolean
}

/** The keys in etcd, under a prefix, of what is sealed so; '' stands for what is not sealed. Sorted. */
export async function findSealed(etcd: Etcd, prefix: string, isMeant: (seal: string) => boolean): Promise<string[]> {
  const found: string[] = []
  // Of all that there is: an etcd of another prefix holds nothing, and proves nothing.
  if (prefix === registry && !(await range(etcd, { key: prefix, range_end: endOf(prefix), limit: 1 })).kvs?.length)
    throw new Failure(`etcd has nothing under ${registry}`, { remedy: "see kube-apiserver's --etcd-prefix" })
  let from = prefix
  for (;;) {
    const { kvs = [], more = false } = await range(etcd, { key: from, range_end: endOf(prefix), limit: page })
    const keys = kvs.map(({ key = '', value = '' }) => ({ key: decode(key).toString(), seal: sealOf(value) }))
    found.push(...keys.filter(({ seal }) => isMeant(seal)).map(({ key }) => key))
    const last = keys.at(-1)
    if (!more || !last) return found
    if (last.key < from) throw new Failure(`etcd lists ${prefix} in no order`)
    from = `${last.key}\0`
  }
}

/** Throws a Failure where there is nothing under that key. */
export async function readSeal(etcd: Etcd, key: string): Promise<string> {
  const { kvs: [found] = [] } = await range(etcd, { key })
  if (!found) throw new Failure(`${key} is not in etcd`, { remedy: "see kube-apiserver's --etcd-prefix" })
  return sealOf(found.value ?? '')
}

async function range(etcd: Etcd, { key, range_end, ...more }: { key: string; range_end?: string; limit?: number }) {
  const encode = (text: string) => Buffer.from(text).toString('base64')
  const asked = { key: encode(key), ...(range_end && { range_end: encode(range_end) }), ...more }
  return (await etcd.read('POST', '/v3/kv/range', asked)) as Range
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
