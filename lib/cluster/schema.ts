/** The schema of cluster.yaml, a row per key: `npm run docs` makes docs/cluster.schema.json and a table of it. */
import * as v from 'valibot'
import { addressBytes, canonicalAddress, parseCidr } from '../address.ts'
import { isPlainPath } from '../files/plain-file.ts'
import { parseDuration, suggest } from '../wording.ts'
import { isDnsName, isDomain, quoted, textOf } from '../yaml.ts'

/** Digits and dots alone would be a mistyped address. */
const isHost = (text: string): boolean => isDnsName(text) && !/^[0-9]+\.[0-9.]+$/.test(text)
const text = (what: string) => v.string(({ input }) => `${quoted(input)} is not text; expected ${what}`)
const checked = (what: string, right: (text: string) => boolean) =>
  v.pipe(
    text(what),
    v.check(right, ({ input }) => `${quoted(input)} is not ${what}`),
  )
const oneOf = <const T extends readonly string[]>(what: string, options: T) =>
  v.picklist(options, ({ input }) => `${quoted(input)} is not a ${what}; ${suggest(textOf(input), options)}`)
const integer = (low: number, high: number) => {
  const message = ({ input }: { input: unknown }) => `${quoted(input)} is not a whole number from ${low} to ${high}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(low, message), v.maxValue(high, message))
}
const isNot = (input: unknown, what: string) =>
  typeof input === 'object' ? `is ${quoted(input)}, not ${what}` : `${quoted(input)} is not ${what}`
const listOf = <T extends v.GenericSchema>(item: T, least = 0) => {
  const message = ({ input }: { input: unknown }) =>
    Array.isArray(input) ? 'is empty; at least one entry is needed' : isNot(input, 'a list')
  return v.pipe(v.array(item, message), v.minLength(least, message))
}
const mapMessage = ({ input, received }: { input: unknown; received: string }) =>
  received === 'undefined' ? 'is missing' : isNot(input, 'a map of keys')
const object = <T extends v.ObjectEntries>(entries: T) => v.object(entries, mapMessage)
const required = <const T extends v.GenericSchema>(meaning: string, schema: T) => v.pipe(schema, v.description(meaning))
const optional = <const T extends v.GenericSchema>(meaning: string, schema: T) => required(meaning, v.optional(schema))
const usually = <const T extends v.GenericSchema, const D extends v.Default<T, undefined>>(
  meaning: string,
  schema: T,
  usual: D,
) => required(meaning, v.optional(schema, usual))
const record = <T extends v.GenericSchema>(value: T) => v.record(v.string(), value, mapMessage)

export const keyKinds = ['rsa-2048', 'rsa-3072', 'rsa-4096', 'ecdsa-p256', 'ecdsa-p384'] as const
const roles = ['control', 'worker', 'gateway'] as const
export const providers = ['aescbc', 'aesgcm', 'secretbox'] as const
export const layoutNames = ['harder-way', 'hard-way'] as const
export const usualLayout = layoutNames[0]

export const defaults = {
  validity: '10y',
  caValidity: '10y',
  renewBefore: '30d',
  serviceCIDR: '10.32.0.0/16',
} as const

const isDualStack = (blocks: string[]) => new Set(blocks.map((block) => block.includes(':'))).size === blocks.length

const isOneLine = (s: string) => !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s)
const isPrintable = (s: string, most: number) => {
  const length = [...s].length
  return length >= 1 && length <= most && isOneLine(s) && s.trim() === s
}
const printable = (most: number) =>
  checked(`1 to ${most} characters, none of them a control character, and no space at either end`, (s) =>
    isPrintable(s, most),
  )
const domain = checked(
  'a DNS name with a letter (lower-case letters, digits and hyphens, such as kubenet or example.org)',
  isDomain,
)
const dns = checked('a DNS name (lower-case letters, digits and hyphens, such as kubenet or example.org)', isDnsName)
const isAddress = (text: string) => addressBytes(text) !== undefined
const canonical = v.transform(canonicalAddress)
const address = v.pipe(checked('an IP address, such as 192.168.1.11', isAddress), canonical)
const san = v.pipe(
  checked(
    'a DNS name, such as example.org or *.example.org, or an IP address',
    (s) => isHost(s.replace(/^\*\./, '')) || isAddress(s),
  ),
  canonical,
)
const longest = parseDuration('1000y')
const duration = v.pipe(
  checked(
    'a duration, such as 10y, 365d or 87600h (up to 1000y)',
    (s) => /[ydh]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= longest,
  ),
  v.transform(parseDuration),
)
const wait = v.pipe(
  checked(
    'a time to wait, such as 90s or 2m (up to 1h)',
    (s) => /[hms]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= parseDuration('1h'),
  ),
  v.transform(parseDuration),
)
const yesOrNo = v.boolean(({ input }) => `${quoted(input)} is neither true nor false`)
const kubeconfigName = checked(
  'a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
  (s) => /^[A-Za-z0-9][\w.:/@-]{0,252}$/.test(s),
)
const path = checked('a path', (s) => s !== '' && isOneLine(s))
const command = checked('a command on one line', (s) => isOneLine(s) && s.trim() === s)
/** For all nodes: `<node>` stands for the name of each. */
const placePath = checked('an absolute path of plain characters, without .. in it; <node> is its name', (s) =>
  isPlainPath(s.replaceAll('<node>', 'node')),
)
const unitFiles = record(
  v.union(
    [placePath, record(placePath)],
    ({ input }) =>
      `${quoted(input)} is neither a path nor a map from flags or fields, such as --client-ca-file, to paths`,
  ),
)
const nodeDirectory = checked(
  'a directory on the node, such as ~, ~/dir or /dir, without .. in it',
  (s) => /^(~|\/)(\/|$)|^\/[^/]/.test(s) && !/(^|\/)\.\.(\/|$)/.test(s) && isOneLine(s),
)
const cidr = v.pipe(
  text('an address block, such as 10.32.0.0/16'),
  v.check(
    (s) => wrongBlock(s) === undefined,
    ({ input }) => `${quoted(input)} ${wrongBlock(input)}`,
  ),
)
function wrongBlock(text: string): string | undefined {
  const parsed = parseCidr(text)
  if (typeof parsed === 'string') return parsed
  const isTooSmall = parsed.network.length * 8 - parsed.prefix < 3
  return isTooSmall ? 'is too small; kube-apiserver needs at least 8 addresses (a /29)' : undefined
}
/** A CN, system:node:<name>, has at most 64 characters: RFC 5280, A.1. */
const nodeName = checked(
  'a node name: one DNS label of at most 52 lower-case letters, digits and hyphens',
  (s) => s.length <= 52 && isDnsName(s) && !s.includes('.'),
)

const unitName = checked(
  'a unit of systemd, without .service, such as k8s-scheduler',
  (s) => /^[\w:.@-]{1,240}$/.test(s) && !s.endsWith('.service'),
)
const login = checked('a user name, such as ubuntu', (s) => /^[A-Za-z0-9_][\w.@-]{0,63}\$?$/.test(s))

const placedAt = {
  config: optional('The file that `--config` of the unit names, if not the one of the guide.', placePath),
  files: usually(
    'Where the unit reads files of auth/: `<file>: <path>`, or `<file>: { <flag or field>: <path> }`.',
    unitFiles,
    {},
  ),
}

const node = object({
  name: required('The name of the node in Kubernetes.', nodeName),
  role: required('A gateway is a load balancer: it gets the CA certificate and none of its own.', oneOf('role', roles)),
  ip: optional('The address of the node. Each node has `ip` or `ips`.', address),
  ips: optional('The addresses of a dual-stack node.', listOf(address, 1)),
  sans: usually('More names and addresses for the certificate of the node.', listOf(san), []),
  host: optional(
    'The host for ssh: a name, an alias of your ssh configuration or an address. Default: `nodes[].name`.',
    checked('a host for ssh: a name, an alias of your ssh_config or an address', (s) =>
      /^[A-Za-z0-9_:][\w.:%-]{0,252}$/.test(s),
    ),
  ),
  port: optional('The port of sshd. Default: the port of your ssh configuration.', integer(1, 65535)),
  user: optional('The user that ssh logs in as. Default: `ssh.user`.', login),
  directory: optional(
    'The deploy directory of this node, and of no other with the same `host` and `port`. Default: `ssh.directory`.',
    nodeDirectory,
  ),
  units: usually(
    'Where the units of this node read files, if not as in `install.units`.',
    record(
      object({
        config: optional('As in `install.units`.', placePath),
        files: usually('As in `install.units`.', unitFiles, {}),
      }),
    ),
    {},
  ),
})

/** At most 64 characters, the limit of a CN in RFC 5280, A.1; lower case, for file systems that ignore case. */
const isUserName = (s: string): boolean => /^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$/.test(s)
const userName = checked(
  "a user's name: 1 to 64 lower-case letters, digits and . _ - @, a letter or digit at both ends",
  isUserName,
)
/** `sha256:…`, or as openssl prints it: until harderway 0.5.0 a key could be revoked. */
const isFingerprint = (s: string): boolean =>
  /^(sha256[: ]|x509sha256=)/i.test(s) || /^[0-9a-f]{64}$/i.test(s.replaceAll(':', ''))
/** A CN without blanks and quotes; but none of the names that Kubernetes keeps for itself. */
const isRevocable = (s: string) => /^[\w.@:-]{1,64}$/.test(s) && !s.startsWith('system:') && !isFingerprint(s)
const revokedName = v.pipe(
  text('a name'),
  v.check(isRevocable, ({ input }) => whyNotRevocable(String(input))),
)
function whyNotRevocable(entry: string): string {
  if (isFingerprint(entry))
    return `${quoted(entry.slice(0, 19))} is a fingerprint, and this version revokes names alone; with harderway 0.5.0, give the user a new name and revoke the old one (docs/bad-day.md, "A list with keys")`
  const [, node] = /^system:node:(.+)$/.exec(entry) ?? []
  if (node !== undefined) return `${quoted(entry)} is how Kubernetes names a node; write ${node}`
  return `${quoted(entry)} is not the CN of a user or node (1 to 64 letters, digits and . _ @ : -, and no system: before it); to end the access of another name, replace the CA (rotate ca)`
}
/** https://kubernetes.io/docs/concepts/security/rbac-good-practices/#least-privilege */
const group = v.pipe(
  printable(64),
  v.check(
    (s) => s !== 'system:masters',
    '"system:masters" bypasses RBAC, and nothing can revoke it before it expires; bind a group of your own to the ClusterRole cluster-admin',
  ),
)
const user = object({
  name: required('The CN of the certificate: lower-case letters, digits and `. _ - @`.', userName),
  groups: usually(
    'The groups of the user, which role bindings name; each is an O of the certificate.',
    listOf(group),
    [],
  ),
  validity: optional('How long the certificate is valid. Default: `certificates.validity`.', duration),
})

const install = v.union(
  [
    v.boolean(),
    object({
      sudo: optional('How to become root on a node. Default: `sudo -n`; nothing if root logs in.', command),
      drain: usually(
        'A command for each gateway, before the API server of `$NODE` (`$ADDRESS`) restarts.',
        command,
        '',
      ),
      undrain: usually('The command for each gateway after the restart.', command, ''),
      timeout: usually('How long to wait for a unit to become healthy: `90s`, up to `1h`.', wait, '2m'),
      units: usually(
        'Units that differ from the guide, by their names there. `<unit>: false` leaves its component alone.',
        record(
          v.union(
            [
              v.literal(false),
              object({
                unit: optional('The name of the unit in systemd.', unitName),
                restart: optional('The command that restarts the unit.', command),
                ...placedAt,
              }),
            ],
            ({ input }) => `${quoted(input)} is neither false nor a map of unit, restart, config and files`,
          ),
        ),
        {},
      ),
    }),
  ],
  ({ input }) => `${quoted(input)} is neither true nor false nor a map of sudo, drain, undrain, timeout, units`,
)

export const clusterSchema = object({
  name: required('The name of the cluster in every kubeconfig.', kubeconfigName),
  layout: usually('The guide that the cluster follows.', oneOf('layout', layoutNames), usualLayout),
  domain: optional(
    'Nodes are also `<node>.<domain>`, and the API is also `<api.host>.<domain>`. Default: `name`.',
    domain,
  ),
  subject: usually(
    'Attributes of the subjects of certificates.',
    object({
      country: optional(
        'The country (C) in every certificate: two capital letters.',
        checked('a country: two capital letters, such as PL', (s) => /^[A-Z]{2}$/.test(s)),
      ),
      state: optional('The state (ST) in every certificate.', printable(128)),
      locality: optional('The locality (L) in every certificate.', printable(128)),
      organization: usually(
        'The organization (O) of the CA, API server and service-account certificates. In those of clients O is a group.',
        printable(64),
        'Kubernetes',
      ),
      organizationalUnit: optional('The organizational unit (OU) in every certificate.', printable(64)),
    }),
    {},
  ),
  certificates: usually(
    'Keys and lifetimes.',
    object({
      key: usually('The kind of every key.', oneOf('kind of key', keyKinds), 'rsa-2048'),
      validity: usually('How long a certificate is valid, at most as long as its CA.', duration, defaults.validity),
      caValidity: usually('How long the CA is valid.', duration, defaults.caValidity),
      renewBefore: usually('A certificate with less than this left is reissued.', duration, defaults.renewBefore),
      caKeyOnNodes: usually('`false`: no node gets the key of the CA.', yesOrNo, true),
    }),
    {},
  ),
  api: usually(
    'How clients reach the API.',
    object({
      host: usually(
        'Every kubeconfig names `https://<api.host>:<api.port>`.',
        v.pipe(
          checked('a DNS name or an IP address', (s) => isHost(s) || isAddress(s)),
          canonical,
        ),
        'kubernetes',
      ),
      port: usually('The port of the API.', integer(1, 65535), 6443),
      virtualIP: optional(
        'The address of the API at the load balancer. Required, but for `layout: hard-way`.',
        address,
      ),
      extraSANs: usually('More names and addresses of the API. A name may begin with `*.`.', listOf(san), []),
    }),
    {},
  ),
  network: usually(
    'The network of services.',
    object({
      serviceCIDR: usually(
        'The address block of services, or a list of an IPv4 and an IPv6 block. The API has its first address.',
        v.union(
          [cidr, v.pipe(listOf(cidr, 1), v.check(isDualStack, 'is more than one IPv4 and one IPv6 block'))],
          ({ input }) => `${quoted(input)} is neither an address block nor a list of two`,
        ),
        defaults.serviceCIDR,
      ),
      clusterDomain: usually('The API is also `kubernetes.default.svc.<clusterDomain>`.', dns, 'cluster.local'),
    }),
    {},
  ),
  encryption: usually(
    'Encryption of what is in etcd.',
    object({
      provider: usually('How kube-apiserver encrypts.', oneOf('provider', providers), 'aescbc'),
      resources: usually(
        'The resources that kube-apiserver encrypts in etcd.',
        listOf(
          checked('a resource, such as secrets, configmaps or *.apps', (s) => /^[a-z0-9*][a-z0-9.*-]{0,252}$/.test(s)),
          1,
        ),
        ['secrets'],
      ),
    }),
    {},
  ),
  etcd: usually(
    'The CA of etcd.',
    object({
      ca: usually(
        '`own`: etcd and its clients have their own CA.',
        oneOf('value of etcd.ca', ['shared', 'own']),
        'shared',
      ),
    }),
    {},
  ),
  aggregation: usually('`true`: sets up the aggregation layer, for metrics-server and the like.', yesOrNo, false),
  ssh: usually(
    'How nodes are reached.',
    object({
      user: usually('The user that ssh logs in as.', login, 'ubuntu'),
      directory: usually(
        'The deploy directory of each node, to which files are copied: `~`, `~/dir` or `/dir`.',
        nodeDirectory,
        '~',
      ),
      concurrency: usually('How many nodes are worked on at once, 1 to 1000.', integer(1, 1000), 16),
      configFile: optional(
        'The configuration that ssh reads, as for `ssh -F`: a path relative to `cluster.yaml`.',
        path,
      ),
    }),
    {},
  ),
  install: usually('`true`: installs files where units read them, and restarts units.', install, false),
  users: usually('People besides the admin. Each gets a certificate and a kubeconfig.', listOf(user), []),
  revoked: optional(
    'The names of former users and nodes, which every API server denies. Needs `install`.',
    listOf(revokedName),
  ),
  localKubeconfig: usually(
    '`false`: your own kubeconfig gets no entry.',
    v.union(
      [
        v.literal(false),
        object({
          as: optional('The user of `users` that your kubectl acts as. Default: the admin.', userName),
          path: optional(
            'Your own kubeconfig: a path relative to `cluster.yaml`. Default: `$KUBECONFIG`, else `~/.kube/config`.',
            path,
          ),
          context: optional('The name of the context. Default: `name`.', kubeconfigName),
          user: optional('The name of the user entry. Default: `admin`.', kubeconfigName),
        }),
      ],
      ({ input }) => `${quoted(input)} is neither false nor a map of as, path, context and user`,
    ),
    {},
  ),
  nodes: required('The machines of the cluster; at least one is a control node.', listOf(node, 1)),
})
