/** Objects in etcd, sealed as the encryption configuration has it. */
import { isDeepStrictEqual } from 'node:util'
import type { Entry, Etcd } from './etcd.ts'
import { type Asked, apiVersion, findResource } from './resources.ts'
import type { Sealing } from './sealing.ts'
import { StatusError } from './status.ts'

export interface Metadata {
  readonly name?: string
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly resourceVersion?: string
}
export type Thing = Readonly<Record<string, unknown>> & { readonly metadata?: Metadata }

interface Stored {
  readonly thing: Thing
  readonly revision: string
  /** Not sealed by the first key. */
  readonly isStale: boolean
}

export class Store {
  readonly #etcd: Etcd
  readonly #sealing: (resource: string) => Sealing

  constructor(etcd: Etcd, sealing: (resource: string) => Sealing) {
    this.#etcd = etcd
    this.#sealing = sealing
  }

  async get(asked: Asked): Promise<Thing> {
    const { thing, revision } = await this.#read(asked)
    return withRevision(thing, revision)
  }

  async list(asked: Asked, limit: number, token: string): Promise<Thing> {
    const { resource, namespace } = asked
    const prefix = `${resource.prefix}${namespace && `${namespace}/`}`
    const from: { start?: string; revision?: string } = token === '' ? {} : readToken(token)
    const range = await this.#etcd.list(prefix, { limit, ...from })
    const items = range.entries.map((entry) => {
      const { thing, revision } = this.#open(asked, entry)
      return withRevision(thing, revision)
    })
    const revision = from.revision ?? range.revision
    // The list goes on with the first key after the last one, at the same revision.
    const start = `${range.entries.at(-1)?.key}\0`
    const more = range.remaining > 0 && {
      continue: Buffer.from(JSON.stringify({ start, revision })).toString('base64url'),
      remainingItemCount: range.remaining,
    }
    const kind = `${resource.kind}List`
    return { kind, apiVersion: apiVersion(resource), metadata: { resourceVersion: revision, ...more }, items }
  }

  async create(asked: Asked, given: Thing): Promise<Thing> {
    const { resource, namespace } = asked
    const name = given.metadata?.name ?? ''
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name))
      throw new StatusError(422, 'Invalid', `${resource.kind} ${JSON.stringify(name)} is invalid: metadata.name`)
    const metadata = { ...given.metadata, ...(resource.namespaced && { namespace: namespace || 'default' }) }
    const created = { ...asked, name }
    const thing = normal(asked, { ...given, metadata })
    const revision = await this.#etcd.put(keyOf(created), this.#seal(created, thing), '0')
    if (revision === undefined)
      throw new StatusError(409, 'AlreadyExists', `${resource.name} ${JSON.stringify(name)} already exists`)
    return withRevision(thing, revision)
  }

  /** What changes nothing is written only where it is not sealed by the first key (etcd3/store.go, stale). */
  async update(asked: Asked, given: Thing): Promise<Thing> {
    for (;;) {
      const { thing: old, revision, isStale } = await this.#read(asked)
      const expected = given.metadata?.resourceVersion
      if (expected && expected !== revision) throw conflict(asked)
      const { namespace } = old.metadata ?? {}
      const thing = normal(asked, { ...given, metadata: { ...given.metadata, ...(namespace && { namespace }) } })
      if (!isStale && isDeepStrictEqual(thing, old)) return withRevision(old, revision)
      const written = await this.#etcd.put(keyOf(asked), this.#seal(asked, thing), revision)
      if (written !== undefined) return withRevision(thing, written)
      if (expected) throw conflict(asked)
    }
  }

  /** The object of that name as it is to be, whether it is there already or not. */
  async replace(path: string, name: string, next: (there: Thing | undefined) => Thing): Promise<void> {
    const [list, one] = [findResource(path), findResource(`${path}/${name}`)]
    if (!list || !one) throw new Error(`there are no objects at ${path}`)
    const there = await this.get(one).catch((error): undefined => {
      if (!(error instanceof StatusError && error.code === 404)) throw error
    })
    await (there === undefined ? this.create(list, next(there)) : this.update(one, next(there)))
  }

  async delete(asked: Asked): Promise<Thing> {
    for (;;) {
      const { revision } = await this.#read(asked)
      if ((await this.#etcd.delete(keyOf(asked), revision)) === undefined) continue
      return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' }
    }
  }

  async #read(asked: Asked): Promise<Stored> {
    const entry = await this.#etcd.get(keyOf(asked))
    if (entry !== undefined) return this.#open(asked, entry)
    throw new StatusError(404, 'NotFound', `${asked.resource.name} ${JSON.stringify(asked.name)} not found`)
  }

  #open({ resource }: Asked, { key, value: sealed, revision }: Entry): Stored {
    try {
      const { value, isStale } = this.#sealing(resource.name).open(sealed, key)
      return { thing: JSON.parse(value.toString()), revision, isStale }
    } catch (error) {
      throw new StatusError(500, 'InternalError', `Internal error occurred: ${error instanceof Error && error.message}`)
    }
  }

  #seal(asked: Asked, thing: Thing): Buffer {
    return this.#sealing(asked.resource.name).seal(Buffer.from(JSON.stringify(thing)), keyOf(asked))
  }
}

function keyOf({ resource, namespace, name }: Asked): string {
  return `${resource.prefix}${resource.namespaced ? `${namespace || 'default'}/` : ''}${name}`
}

/** As it is stored: without its revision, a Secret's stringData as data. */
function normal({ resource }: Asked, { stringData, ...given }: Thing): Thing {
  const { resourceVersion: _, ...metadata } = given.metadata ?? {}
  const thing = { ...given, kind: resource.kind, apiVersion: apiVersion(resource), metadata }
  if (resource.kind !== 'Secret') return thing
  const more = Object.entries((stringData ?? {}) as Record<string, string>)
  const data = {
    ...(thing as { data?: object }).data,
    ...Object.fromEntries(more.map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
  }
  return { type: 'Opaque', ...thing, data }
}

function withRevision(thing: Thing, resourceVersion: string): Thing {
  return { ...thing, metadata: { ...thing.metadata, resourceVersion } }
}

function readToken(token: string): { start: string; revision: string } {
  return JSON.parse(Buffer.from(token, 'base64url').toString())
}

function conflict({ resource, name }: Asked): StatusError {
  const what = `Operation cannot be fulfilled on ${resource.name} ${JSON.stringify(name)}`
  return new StatusError(
    409,
    'Conflict',
    `${what}: the object has been modified; please apply your changes to the latest version and try again`,
  )
}
