/**
 * Values at rest as kube-apiserver seals them: `k8s:enc:<provider>:v1:<key name>:` and what a cipher of this stand-in's
 * gives, the same for each provider.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { parse } from 'yaml'

interface Key {
  readonly prefix: string
  seal(value: Buffer, place: string): Buffer
  open(sealed: Buffer, place: string): Buffer
}

/** Of one resource: the first key seals, each opens. */
export interface Sealing {
  seal(value: Buffer, place: string): Buffer
  /** `isStale` where it was not sealed by the first. Throws where no key opens it. */
  open(stored: Buffer, place: string): { value: Buffer; isStale: boolean }
}

interface Configuration {
  readonly kind?: string
  readonly resources?: readonly {
    readonly resources: readonly string[]
    readonly providers: readonly Readonly<Record<string, { readonly keys?: readonly KeyEntry[] }>>[]
  }[]
}

interface KeyEntry {
  readonly name: string
  readonly secret: string
}

/** By resource. Throws where kube-apiserver would not start with the text, or this cannot play it. */
export function readSealing(text: string): (resource: string) => Sealing {
  const { kind, resources = [] } = (parse(text) ?? {}) as Configuration
  if (kind !== 'EncryptionConfiguration' && kind !== 'EncryptionConfig')
    throw new Error(`encryption config: no kind "${kind}" is known`)
  const all = resources.map(({ resources, providers }) => ({
    resources,
    keys: providers
      .flatMap((provider) => Object.entries(provider))
      .flatMap(([provider, { keys }]) => keysOf(provider, keys)),
  }))
  return (resource) => sealing(all.find(({ resources }) => resources.includes(resource))?.keys ?? [identity])
}

function sealing(keys: readonly Key[]): Sealing {
  const [first = identity] = keys
  return {
    seal: (value, place) => Buffer.concat([Buffer.from(first.prefix), first.seal(value, place)]),
    open(stored, place) {
      let why: unknown = 'no matching prefix found'
      for (const key of keys) {
        if (!stored.subarray(0, key.prefix.length).equals(Buffer.from(key.prefix))) continue
        if (key === identity && stored.subarray(0, 8).toString() === 'k8s:enc:') continue
        try {
          return { value: key.open(stored.subarray(key.prefix.length), place), isStale: key !== first }
        } catch (error) {
          why = error
        }
      }
      throw new Error(`unable to transform key ${JSON.stringify(place)}: ${why}`)
    },
  }
}

const identity: Key = { prefix: '', seal: (value) => value, open: (stored) => stored }

function keysOf(provider: string, keys: readonly KeyEntry[] = []): Key[] {
  if (provider === 'identity') return [identity]
  if (!['aescbc', 'aesgcm', 'secretbox'].includes(provider))
    throw new Error(`encryption config: this stand-in cannot play ${provider}`)
  return keys.map(({ name, secret }) => {
    const key = createHash('sha256').update(Buffer.from(secret, 'base64')).digest()
    return {
      prefix: `k8s:enc:${provider}:v1:${name}:`,
      seal(value, place) {
        const nonce = randomBytes(12)
        const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(place))
        return Buffer.concat([nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()])
      },
      open(sealed, place) {
        const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAAD(Buffer.from(place))
        decipher.setAuthTag(sealed.subarray(-16))
        return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()])
      },
    }
  })
}
