/** A lock in etcd that expires by itself: a key under a lease. https://etcd.io/docs/v3.5/learning/api/ */
import * as v from 'valibot'
import { inShape } from './probe.ts'
import type { Etcd } from './stored.ts'

export interface StoreLock {
  readonly key: string
  /** A word that names the owner: the same owner may take over its own previous lock. */
  readonly owner: string
  /** For people: where the owner is. */
  readonly host: string
  /** Seconds until it expires, if it is not released. */
  readonly seconds: number
}

/** `lease`: it is ours until the lease is revoked; `host`: another owner holds it, on that host. */
export type LockTaken = { readonly lease: string } | { readonly host: string }

/** Throws a Failure if etcd does not answer as expected: then the lock is not ours. */
export async function takeStoreLock(etcd: Etcd, { key, owner, host, seconds }: StoreLock): Promise<LockTaken> {
  const { ID: lease } = await ask(etcd, '/v3/lease/grant', { TTL: seconds }, granted)
  const own = { key: encode(key), value: encode(`${owner} ${host}`), lease }
  const isAbsent = { key: own.key, target: 'CREATE', result: 'EQUAL', create_revision: '0' }
  let holder = await putIf(etcd, own, isAbsent)
  if (holder !== undefined && decode(holder).startsWith(`${owner} `))
    holder = await putIf(etcd, own, { key: own.key, target: 'VALUE', result: 'EQUAL', value: holder })
  if (holder === undefined) return { lease }
  await giveBackStoreLock(etcd, lease)
  return { host: decode(holder).replace(/^\S* ?/, '') }
}

export async function giveBackStoreLock(etcd: Etcd, lease: string): Promise<void> {
  await ask(etcd, '/v3/lease/revoke', { ID: lease }, v.object({}))
}

interface Put {
  readonly key: string
  readonly value: string
  readonly lease: string
}

const granted = v.object({ ID: v.pipe(v.string(), v.regex(/^\d{1,20}$/)) })
const decided = v.object({
  succeeded: v.optional(v.boolean(), false),
  responses: v.optional(
    v.array(
      v.object({
        response_range: v.optional(v.object({ kvs: v.optional(v.array(v.object({ value: v.string() })), []) })),
      }),
    ),
    [],
  ),
})

/** Undefined if it was put; else the value that exists, in base64. */
async function putIf(etcd: Etcd, put: Put, compare: object): Promise<string | undefined> {
  const transaction = {
    compare: [compare],
    success: [{ request_put: put }],
    failure: [{ request_range: { key: put.key } }],
  }
  const { succeeded, responses } = await ask(etcd, '/v3/kv/txn', transaction, decided)
  return succeeded ? undefined : (responses[0]?.response_range?.kvs[0]?.value ?? '')
}

async function ask<T extends v.GenericSchema>(etcd: Etcd, path: string, body: object, schema: T) {
  return inShape(schema, await etcd.read('POST', path, body), `etcd's ${path}`)
}

const encode = (text: string) => Buffer.from(text).toString('base64')
const decode = (base64: string) => Buffer.from(base64, 'base64').toString()
