/** Objects in etcd, sealed as the encryption configuration has it. */
import { isDeepStrictEqual } from 'node:util'
import type { Entry, Etcd } from './etcd.ts'
import { type Asked, apiVersion, findResource, StatusError } from './resources.ts'
import type { Sealing } from './sealing.ts'

interface Metadata {
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
    return withRevision(await this.#read(asked))
  }

  async list(asked: Asked): Promise<Thing> {
    const { resource, namespace } = asked
    const { entries, revision } = await this.#etcd.list(`${resource.prefix}${namespace && `${namespace}/`}`)
    const items = entries.map((entry) => withRevision(this.#open(asked, entry)))
    const metadata = { resourceVersion: revision }
    return { kind: `${resource.kind}List`, apiVersion: apiVersion(resource), metadata, items }
  }

  async create(asked: Asked, given: Thing): Promise<Thing> {
    const { resource, namespace } = asked
    const name = given.metadata?.name ?? ''
    const metadata = { ...given.metadata, ...(resource.namespaced && { namespace: namespace || 'default' }) }
    const created = { ...asked, name }
    const thing = normal(asked, { ...given, metadata })
    const revision = await this.#etcd.put(keyOf(created), this.#seal(created, thing), '0')
    if (revision !== undefined) return withRevision({ thing, revision })
    throw new StatusError(409, 'AlreadyExists', `${resource.name} ${JSON.stringify(name)} already exists`)
  }

  /** What changes nothing is written only where it is not sealed by the first key (etcd3/store.go, stale). */
  async update(asked: Asked, given: Thing): Promise<Thing> {
    for (;;) {
      const { thing: old, revision, isStale } = await this.#read(asked)
      const expected = given.metadata?.resourceVersion
      const { namespace } = old.metadata ?? {}
      const thing = normal(asked, { ...given, metadata: { ...given.metadata, ...(namespace && { namespace }) } })
      const isSame = !expected || expected === revision
      if (isSame && !isStale && isDeepStrictEqual(thing, old)) return withRevision({ thing, revision })
      const written = isSame ? await this.#etcd.put(keyOf(asked), this.#seal(asked, thing), revision) : undefined
      if (written !== undefined) return withRevision({ thing, revision: written })
      if (expected) throw new StatusError(409, 'Conflict', `${asked.resource.name} ${asked.name} has been modified`)
    }
  }

  /** The object of that name as it is to be, whether it is there already or not. */
  async replace(path: string, name: string, next: (there: Thing | undefined) => Thing): Promise<void> {
    const one = findResource(`${path}/${name}`)
    const there = await this.get(one).catch((error): undefined => {
      if (!(error instanceof StatusError && error.code === 404)) throw error
    })
    await (there === undefined ? this.create(one, next(there)) : this.update(one, next(there)))
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
    const { value, isStale } = this.#sealing(resource.name).open(sealed, key)
    return { thing: JSON.parse(value.toString()), revision, isStale }
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

function withRevision({ thing, revision }: Pick<Stored, 'thing' | 'revision'>): Thing {
  return { ...thing, metadata: { ...thing.metadata, resourceVersion: revision } }
}
