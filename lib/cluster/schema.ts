/**
 * What may stand in cluster.yaml, one entry a key: the type, the default and, in each message, what would be right.
 * cluster.schema.json, for editors, is made from this (`npm run schema`).
 */
import * as v from 'valibot'
import { addressBytes, canonicalAddress, parseCidr } from '../address.ts'
import { suggest } from '../suggest.ts'

export const keyKinds = ['rsa-2048', 'rsa-3072', 'rsa-4096', 'ecdsa-p256', 'ecdsa-p384'] as const
const roles = ['control', 'worker', 'gateway'] as const
export const providers = ['aescbc', 'aesgcm', 'secretbox'] as const
const layouts = ['guide'] as const

export const defaults = {
  validity: '10y',
  caValidity: '10y',
  renewBefore: '30d',
  serviceCIDR: '10.32.0.0/16',
} as const

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^(?=.{1,253}$)${label}(\\.${label})*$`)
export const isDnsName = (text: string): boolean => dnsName.test(text)
/** Digits and dots alone would be a mistyped address. */
const isHost = (text: string): boolean => isDnsName(text) && !/^[0-9]+\.[0-9.]+$/.test(text)
const isAddress = (text: string): boolean => addressBytes(text) !== undefined

const day = 86_400_000
const units = { y: 365 * day, d: day, h: 3_600_000, m: 60_000, s: 1000 }
const longest = 1000 * units.y

/** Milliseconds of `10y`, `365d`, `87600h`, `2m` or `30s`; a year is 365 days. NaN where it is none. */
export function parseDuration(text: string): number {
  const [, count, unit] = /^(\d{1,9})([ydhms])$/.exec(text) ?? []
  return Number(count) * units[unit as keyof typeof units]
}

const text = (what: string) => v.string(({ input }) => `${shown(input)} is not text: ${what}`)
const checked = (what: string, right: (text: string) => boolean) =>
  v.pipe(
    text(what),
    v.check(right, ({ input }) => `${shown(input)} is not ${what}`),
  )
const oneOf = <const T extends readonly string[]>(what: string, options: T) =>
  v.picklist(options, ({ input }) => `${shown(input)} is not a ${what}: ${suggest(textOf(input), options)}`)
const integer = (low: number, high: number) => {
  const message = ({ input }: { input: unknown }) => `${shown(input)} is not a whole number from ${low} to ${high}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(low, message), v.maxValue(high, message))
}
const list = <T extends v.GenericSchema>(item: T, least = 0) => {
  const message = ({ input }: { input: unknown }) =>
    Array.isArray(input) ? 'is empty: at least one is needed' : `${shown(input)} is not a list`
  return v.pipe(v.array(item, message), v.minLength(least, message))
}
const mapMessage = ({ input, received }: { input: unknown; received: string }) =>
  received === 'undefined' ? 'is missing' : `${shown(input)} is not a map of keys`
/** To valibot a list is an object too. */
const noList = <T extends v.GenericSchema>(schema: T): T => {
  const never = v.never(mapMessage)
  const run: v.GenericSchema['~run'] = (dataset, config) =>
    (Array.isArray(dataset.value) ? never : schema)['~run'](dataset, config)
  return { ...schema, '~run': run }
}
const object = <T extends v.ObjectEntries>(entries: T) => noList(v.object(entries, mapMessage))

const printable = (most: number) =>
  checked(`1 to ${most} characters, none of them a control character, and no space at either end`, (s) => {
    const length = [...s].length
    return length >= 1 && length <= most && !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s) && s.trim() === s
  })
const dns = checked('a DNS name (lower-case letters, digits and hyphens, such as kubenet or example.org)', isDnsName)
const canonical = v.transform(canonicalAddress)
const address = v.pipe(checked('an IP address, such as 192.168.1.11', isAddress), canonical)
const san = v.pipe(
  checked(
    'a DNS name, such as example.org or *.example.org, or an IP address',
    (s) => isHost(s.replace(/^\*\./, '')) || isAddress(s),
  ),
  canonical,
)
/** Milliseconds, once it is read. */
const duration = v.pipe(
  checked(
    'a duration, such as 10y, 365d or 87600h (up to 1000y)',
    (s) => /[ydh]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= longest,
  ),
  v.transform(parseDuration),
)
/** Milliseconds, once it is read: for how long something is waited for. */
const wait = v.pipe(
  checked(
    'a time to wait, such as 90s or 2m (up to 1h)',
    (s) => /[hms]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= units.h,
  ),
  v.transform(parseDuration),
)
const kubeconfigName = checked(
  'a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
  (s) => /^[A-Za-z0-9][\w.:/@-]{0,252}$/.test(s),
)
const path = checked('a path', (s) => s !== '' && !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s))
const command = checked('a command on one line', (s) => !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s) && s.trim() === s)
const absolutePath = checked(
  'an absolute path of plain characters, without .. in it',
  (s) => /^(\/[\w@%+=:,.-]+)+$/.test(s) && !/\/\.\.?(\/|$)/.test(s),
)
const nodeDirectory = checked(
  'a folder on the node: ~, ~/folder or /folder, without .. in it',
  (s) => /^(~|\/)(\/|$)|^\/[^/]/.test(s) && !/(^|\/)\.\.(\/|$)|[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s),
)
const cidr = v.pipe(
  text('an address block, such as 10.32.0.0/16'),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return
    const parsed = parseCidr(dataset.value)
    if (typeof parsed === 'string') addIssue({ message: `${shown(dataset.value)} ${parsed}` })
    else if (parsed.network.length * 8 - parsed.prefix < 3)
      addIssue({ message: `${shown(dataset.value)} is too small: kube-apiserver needs at least 8 addresses (a /29)` })
  }),
)
const nodeName = v.pipe(
  text('a node name, such as worker0'),
  v.check(
    (s) => new RegExp(`^${label}$`).test(s),
    ({ input }) =>
      /[A-Z]/.test(input) && new RegExp(`^${label}$`).test(input.toLowerCase())
        ? `"${input}" has capitals, which Kubernetes refuses in a node name: write ${input.toLowerCase()}`
        : `${shown(input)} is not a node name: one DNS label of lower-case letters, digits and hyphens`,
  ),
  v.check(
    (s) => s.length <= 52 || !new RegExp(`^${label}$`).test(s),
    'is longer than 52 characters, so that its CN, system:node:<name>, would pass the 64 of RFC 5280',
  ),
)
const node = object({
  name: nodeName,
  role: oneOf('role', roles),
  ip: v.optional(address),
  ips: v.optional(list(address, 1)),
  sans: v.optional(list(san), []),
  host: v.optional(
    checked('a host for ssh: a name, an alias of your ssh_config or an address', (s) =>
      /^[A-Za-z0-9_:][\w.:%-]{0,252}$/.test(s),
    ),
  ),
  port: v.optional(integer(1, 65535)),
  directory: v.optional(nodeDirectory),
})

/** At most 64 characters, as RFC 5280, A.1, has it of a CN; lower case, for file systems that ignore case. */
const userName = v.pipe(
  text("a user's name, such as jane"),
  v.check(
    (s) => /^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$/.test(s),
    ({ input }) =>
      input.startsWith('system:')
        ? `${shown(input)} begins with system:, which Kubernetes keeps for its own components`
        : `${shown(input)} is not a user's name: 1 to 64 lower-case letters, digits and . _ - @, a letter or digit at both ends`,
  ),
)
const user = object({
  name: userName,
  groups: v.optional(list(printable(64)), []),
  validity: v.optional(duration),
})

const layout = v.optional(oneOf('layout', layouts), 'guide')
const install = v.union(
  [
    v.literal(false),
    v.literal('guide'),
    object({
      layout,
      sudo: v.optional(command, 'sudo -n'),
      drain: v.optional(command, ''),
      undrain: v.optional(command, ''),
      timeout: v.optional(wait, '2m'),
      units: v.optional(
        noList(
          v.record(
            v.string(),
            v.union(
              [
                v.literal(false),
                object({
                  restart: v.optional(command),
                  files: v.optional(noList(v.record(v.string(), absolutePath, mapMessage)), {}),
                }),
              ],
              ({ input }) => `${shown(input)} is neither false nor a map of restart and files`,
            ),
            mapMessage,
          ),
        ),
        {},
      ),
    }),
  ],
  ({ input }) => `${shown(input)} is neither false nor guide nor a map of layout, sudo, drain, undrain, timeout, units`,
)

export const clusterSchema = object({
  name: kubeconfigName,
  domain: v.optional(dns),
  subject: v.optional(
    object({
      country: v.optional(checked('a country: two capital letters, such as PL', (s) => /^[A-Z]{2}$/.test(s))),
      state: v.optional(printable(128)),
      locality: v.optional(printable(128)),
      organization: v.optional(printable(64), 'Kubernetes'),
      organizationalUnit: v.optional(printable(64)),
    }),
    {},
  ),
  certificates: v.optional(
    object({
      key: v.optional(oneOf('kind of key', keyKinds), 'rsa-2048'),
      validity: v.optional(duration, defaults.validity),
      caValidity: v.optional(duration, defaults.caValidity),
      renewBefore: v.optional(duration, defaults.renewBefore),
    }),
    {},
  ),
  api: object({
    host: v.optional(
      v.pipe(
        checked('a DNS name or an IP address', (s) => isHost(s) || isAddress(s)),
        canonical,
      ),
      'kubernetes',
    ),
    port: v.optional(integer(1, 65535), 6443),
    virtualIP: address,
    extraSANs: v.optional(list(san), []),
  }),
  network: v.optional(
    object({
      serviceCIDR: v.optional(
        v.union([cidr, list(cidr, 1)], ({ input }) => `${shown(input)} is neither an address block nor a list of two`),
        defaults.serviceCIDR,
      ),
      clusterDomain: v.optional(dns, 'cluster.local'),
    }),
    {},
  ),
  encryption: v.optional(
    object({
      provider: v.optional(oneOf('provider', providers), 'aescbc'),
      resources: v.optional(
        list(
          checked('a resource, such as secrets, configmaps or *.apps', (s) => /^[a-z0-9*][a-z0-9.*-]{0,252}$/.test(s)),
          1,
        ),
        ['secrets'],
      ),
    }),
    {},
  ),
  ssh: v.optional(
    object({
      user: v.optional(
        checked('a user name, such as ubuntu', (s) => /^[A-Za-z0-9_][\w.@-]{0,63}\$?$/.test(s)),
        'ubuntu',
      ),
      directory: v.optional(nodeDirectory, '~'),
      concurrency: v.optional(integer(1, 1000), 16),
      configFile: v.optional(path),
      options: v.optional(
        noList(
          v.record(
            v.string(),
            v.pipe(
              v.union([v.string(), v.number(), v.boolean()], ({ input }) => `${shown(input)} is not one value`),
              v.transform((value) => (typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value))),
            ),
            mapMessage,
          ),
        ),
        {},
      ),
    }),
    {},
  ),
  install: v.optional(install, false),
  users: v.optional(list(user), []),
  localKubeconfig: v.optional(
    v.union(
      [
        v.literal(false),
        object({ path: v.optional(path), context: v.optional(kubeconfigName), user: v.optional(kubeconfigName) }),
      ],
      ({ input }) => `${shown(input)} is neither false nor a map of path, context and user`,
    ),
    {},
  ),
  nodes: list(node, 1),
})

export type ClusterInput = v.InferOutput<typeof clusterSchema>

/** The value as the message shows it: short, on one line, its kind visible. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const json = JSON.stringify(String(value)) ?? ''
  const short = json.length > 62 ? `${json.slice(0, 60)}…"` : json
  return typeof value === 'string' ? short : String(value).slice(0, 40)
}

/** A map from the file may have a key `toString`, so it can't be converted to text. */
export function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return '[object Object]'
  }
}
