/**
 * The keys of the first provider in an EncryptionConfiguration, and their rotation: the order says how far it has come.
 * Everything else in the text stays. Pure.
 * https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/#rotating-a-decryption-key
 */
import { isMap, isSeq, type YAMLSeq } from 'yaml'
import { editYaml } from '../yaml.ts'
import { readEncryptionConfig } from './encryption.ts'

export interface SealingKeys {
  /** Such as aescbc. */
  readonly provider: string
  /** By their names; the first one seals. */
  readonly names: readonly string[]
  /** `settled`: one key. `added`: the newest one can open, and does not seal yet. `first`: it seals, and the earlier ones can open. */
  readonly stage: 'settled' | 'added' | 'first'
}

/** A key that a rotation makes is called so, with the next number: of two, the higher one is the newer. */
const named = /^key(\d{1,6})$/

/** Undefined for a text that is no EncryptionConfiguration, or whose first provider has no key in it. */
export function readSealingKeys(text: string): SealingKeys | undefined {
  const config = readEncryptionConfig(text)
  const keys = config?.entries[0]?.keys.filter(({ provider }) => provider === config.provider) ?? []
  const [first, ...others] = keys.map(({ name }) => name)
  if (!config || first === undefined) return undefined
  const isNewer = others.some((name) => numberOf(name) > numberOf(first))
  const stage = others.length === 0 ? 'settled' : isNewer ? 'added' : 'first'
  return { provider: config.provider, names: [first, ...others], stage }
}

function numberOf(name: string): number {
  return Number(named.exec(name)?.[1] ?? 0)
}

/** The number in the name of the newest key; undefined where there is no such text, 0 for a name of another kind. */
export function newestKey(text: string): number | undefined {
  const names = readSealingKeys(text)?.names
  return names && Math.max(...names.map(numberOf))
}

/** With a further key at the end, in base64. */
export function addKey(text: string, secret: string): string {
  const number = Math.max(1, ...(readSealingKeys(text)?.names.map(numberOf) ?? [])) + 1
  return edit(text, (keys, create) => [...keys, create({ name: `key${number}`, secret })])
}

/** With the newest key first. */
export function sealWithNewest(text: string): string {
  return edit(text, (keys) => keys.toSorted((one, other) => numberOf(nameOf(other)) - numberOf(nameOf(one))))
}

/** With the newest key last: it can open what it has sealed. */
export function sealWithEarlier(text: string): string {
  return edit(text, (keys) => keys.toSorted((one, other) => numberOf(nameOf(one)) - numberOf(nameOf(other))))
}

/** With those keys alone. */
export function keepKeys(text: string, names: readonly string[]): string {
  return edit(text, (keys) => keys.filter((key) => names.includes(nameOf(key))))
}

function nameOf(key: unknown): string {
  return isMap(key) ? String(key.get('name')) : ''
}

type Edit = (keys: unknown[], create: (value: object) => unknown) => unknown[]

function edit(text: string, change: Edit): string {
  return editYaml(text, (document) => {
    const provider = document.getIn(['resources', 0, 'providers', 0])
    const [pair] = isMap(provider) ? provider.items : []
    const keys = isMap(pair?.value) ? pair.value.get('keys') : undefined
    if (!isSeq(keys)) throw new Error('the first provider has no keys')
    const list = keys as YAMLSeq
    list.items = change([...list.items], (value) => document.createNode(value))
  })
}
