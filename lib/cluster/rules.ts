/** Rules that span keys of cluster.yaml: unknown keys, and values that contradict each other. Pure. */
import { addressBytes, canonicalAddress, isInside, specialUse, tryCidr } from '../address.ts'
import { parseDuration, suggest } from '../wording.ts'
import { isDomain, isMap, list, map, type Path, type Problem, quoted, type Raw, textOf } from '../yaml.ts'
import { clusterSchema, defaults } from './schema.ts'

const apiServerUnit = 'kube-apiserver'

export interface LayoutRules {
  /** The values of cluster.yaml where it has none, as they are written there. */
  readonly defaults: Raw
  readonly name: string
  /** Keys of cluster.yaml that the layout does not have, each with the reason. */
  readonly without: ReadonlyMap<string, string>
  problems(raw: Raw): readonly Problem[]
  /** Whether a node or a user of that name would have a file of the cluster's own name. */
  isReserved(name: string): boolean
  /** The units of the layout: the settings that name each of its files, and whether it reads a YAML file. */
  readonly units: ReadonlyMap<
    string,
    { readonly files: ReadonlyMap<string, readonly string[]>; readonly hasConfig: boolean }
  >
}

export function clusterProblems(value: unknown, layout: LayoutRules): Problem[] {
  const raw = map(value)
  const nodes = list(raw.nodes).map(map)
  const users = list(raw.users).map(map)
  const install = map(raw.install)
  return [
    ...unknownKeys(clusterSchema as unknown as SchemaShape, value, []),
    ...keyProblems(raw, layout),
    ...domainProblems(raw),
    ...nameProblems({ nodes, users }, layout.isReserved),
    ...addressProblems(raw, nodes),
    ...controlProblems(nodes),
    ...durationProblems(map(raw.certificates), users),
    ...localProblems(map(raw.localKubeconfig), users),
    ...revokedProblems(raw, layout.isReserved),
    ...drainProblems(install),
    ...unitProblems(map(install.units), layout.units, ['install', 'units']),
    ...nodes.flatMap((node, i) => unitProblems(map(node.units), layout.units, ['nodes', i, 'units'])),
    ...layout.problems(raw),
  ]
}

function keyProblems(raw: Raw, { name, without }: LayoutRules): Problem[] {
  const virtualIP = ['api', 'virtualIP']
  const { api = {} } = raw
  const isMissing = isMap(api) && api.virtualIP === undefined && !without.has(virtualIP.join('.'))
  const absent = [...without].flatMap(([key, why]): Problem[] => {
    const [section = '', inner = ''] = key.split('.')
    if (map(raw[section])[inner] === undefined) return []
    return [atKey([section, inner], `is not a key of layout ${name}`, why)]
  })
  return [...(isMissing ? [{ path: virtualIP, message: 'is missing' }] : []), ...absent]
}

function domainProblems({ name, domain }: Raw): Problem[] {
  if (domain !== undefined || typeof name !== 'string' || isDomain(name)) return []
  const message = `${quoted(name)} is also the domain, but not a DNS name with a letter`
  return [{ path: ['name'], message, remedy: 'set domain' }]
}

interface Placed {
  readonly value: string
  readonly path: Path
}

/** A problem for each value that occurs before in the list, at its own place. */
function duplicates(values: readonly Placed[], what: string): Problem[] {
  const seen = new Set<string>()
  return values.flatMap(({ value, path }) => {
    if (seen.has(value)) return [{ path, message: `${quoted(value)} ${what}` }]
    seen.add(value)
    return []
  })
}

function nameProblems(
  entries: Readonly<Record<string, readonly Raw[]>>,
  isReserved: LayoutRules['isReserved'],
): Problem[] {
  const names = Object.entries(entries).flatMap(([section, all]) =>
    all.flatMap(({ name }, i): Placed[] =>
      typeof name === 'string' ? [{ value: name, path: [section, i, 'name'] }] : [],
    ),
  )
  return [
    ...names
      .filter(({ value }) => isReserved(value))
      .map(({ value, path }) => ({ path, message: `${quoted(value)} is reserved by harderway` })),
    ...duplicates(names, 'is the name of another node or user'),
  ]
}

function addressProblems(raw: Raw, nodes: readonly Raw[]): Problem[] {
  const { serviceCIDR = defaults.serviceCIDR } = map(raw.network)
  const blocks = [serviceCIDR].flat().flatMap((text) => tryCidr(textOf(text)) ?? [])
  const own = nodes.flatMap((node, i) => addressesOf(node, ['nodes', i]))
  const virtualIP = { value: textOf(map(raw.api).virtualIP), path: ['api', 'virtualIP'] }
  return [
    ...duplicates(
      own.map(({ value, path }) => ({ value: canonicalAddress(value), path })),
      'is already the address of a node',
    ),
    ...[virtualIP, ...own].flatMap(({ value, path }): Problem[] => {
      const use = specialUse(value)
      // A cluster on one machine may use loopback addresses.
      if (use !== undefined && use !== 'loopback')
        return [{ path, message: `${quoted(value)} is ${use}`, remedy: 'use an address that other machines reach' }]
      // kube-proxy treats these addresses as Services, so no machine can be reached by them.
      return blocks.some((block) => isInside(value, block))
        ? [{ path, message: `${quoted(value)} is in network.serviceCIDR`, remedy: 'use an address outside it' }]
        : []
    }),
    ...nodes.flatMap(({ ip, ips }, i): Problem[] => {
      if ((ip === undefined) !== (ips === undefined)) return []
      return [{ path: ['nodes', i], message: 'needs either ip or, for dual-stack, ips' }]
    }),
  ]
}

function addressesOf({ ip, ips }: Raw, path: Path): Placed[] {
  return [{ value: textOf(ip), path: [...path, 'ip'] }]
    .concat(list(ips).map((each, i) => ({ value: textOf(each), path: [...path, 'ips', i] })))
    .filter(({ value }) => addressBytes(value))
}

function controlProblems(nodes: readonly Raw[]): Problem[] {
  if (nodes.length === 0 || nodes.some(({ role }) => role === 'control')) return []
  return [atKey(['nodes'], 'has no node with role: control')]
}

function durationProblems(certificates: Raw, users: readonly Raw[]): Problem[] {
  const { validity, caValidity, renewBefore } = { ...defaults, ...certificates }
  const all: [Path, unknown][] = [
    [['certificates', 'validity'], validity],
    [['certificates', 'caValidity'], caValidity],
    ...users.map((user, i): [Path, unknown] => [['users', i, 'validity'], user.validity]),
  ]
  return all
    .filter(([, value]) => parseDuration(textOf(value)) <= parseDuration(textOf(renewBefore)))
    .map(([path, value]) => ({
      path,
      message: `${quoted(value)} must be longer than renewBefore (${textOf(renewBefore)}), or every certificate is out of date at once`,
    }))
}

function localProblems({ as }: Raw, users: readonly Raw[]): Problem[] {
  const names = users.map(({ name }) => textOf(name))
  if (as === undefined || names.includes(textOf(as))) return []
  const remedy = names.length > 0 ? suggest(textOf(as), names) : 'add it to users'
  return [{ path: ['localKubeconfig', 'as'], message: `${quoted(as)} is not in users`, remedy }]
}

function revokedProblems(raw: Raw, isReserved: LayoutRules['isReserved']): Problem[] {
  const { revoked, install = false } = raw
  if (revoked === undefined) return []
  const entries = list(revoked).map((entry, i): Placed => ({ value: textOf(entry), path: ['revoked', i] }))
  const inUse = new Set([...list(raw.nodes), ...list(raw.users)].map((each) => map(each).name))
  const isLeftOut = map(map(install).units)[apiServerUnit] === false
  return [
    ...(install === false
      ? [atKey(['revoked'], 'needs install, which loads the list into API servers', 'set install: true')]
      : []),
    ...(isLeftOut ? [atKey(['revoked'], `needs ${apiServerUnit}, which install.units leaves out`)] : []),
    ...duplicates(entries, 'is listed twice'),
    ...entries.flatMap(({ value, path }): Problem[] => {
      if (value !== '' && isReserved(value))
        return [{ path, message: `${quoted(value)} can't be revoked`, remedy: 'replace the CA: rotate ca' }]
      if (!inUse.has(value)) return []
      return [{ path, message: `${quoted(value)} is still a node or user`, remedy: 'remove that first' }]
    }),
  ]
}

function drainProblems({ drain = '', undrain = '' }: Raw): Problem[] {
  if ((drain === '') === (undrain === '')) return []
  const [one, other] = drain === '' ? ['undrain', 'drain'] : ['drain', 'undrain']
  return [atKey(['install', one], `needs ${other} too`)]
}

function unitProblems(units: Raw, known: LayoutRules['units'], path: Path): Problem[] {
  return Object.entries(units).flatMap(([unit, override]): Problem[] => {
    const { files, hasConfig } = known.get(unit) ?? {}
    const at = [...path, unit]
    if (!files) return [atKey(at, 'is not a unit of the layout', suggest(unit, [...known.keys()]))]
    const { config, files: named } = map(override)
    return [
      ...(config !== undefined && !hasConfig
        ? [atKey([...at, 'config'], `does not apply to ${unit}, which reads no YAML file`)]
        : []),
      ...Object.entries(map(named)).flatMap(([file, place]): Problem[] => {
        const settings = files.get(file)
        if (!settings)
          return [atKey([...at, 'files', file], `is not a file of ${unit}`, suggest(file, [...files.keys()]))]
        const unknown = Object.keys(map(place)).filter((setting) => !settings.includes(setting))
        return unknown.map((setting) =>
          atKey(
            [...at, 'files', file, setting],
            `is not a flag or field of ${unit} for ${file}`,
            suggest(setting, settings),
          ),
        )
      }),
    ]
  })
}

function atKey(path: Path, message: string, remedy?: string): Problem {
  return { path, at: 'key', message, remedy }
}

interface SchemaShape {
  readonly type: string
  readonly entries?: Readonly<Record<string, SchemaShape>>
  readonly item?: SchemaShape
  readonly wrapped?: SchemaShape
  readonly options?: readonly SchemaShape[]
  readonly value?: SchemaShape
}

function unknownKeys(schema: SchemaShape, value: unknown, path: Path): Problem[] {
  if (schema.wrapped) return unknownKeys(schema.wrapped, value, path)
  if (schema.type === 'union') return (schema.options ?? []).flatMap((option) => unknownKeys(option, value, path))
  const { item, entries, value: each } = schema
  // To valibot a list is an object too.
  if (Array.isArray(value) && !item) return entries || each ? [{ path, message: 'is a list, not a map of keys' }] : []
  if (each) return Object.entries(map(value)).flatMap(([key, inner]) => unknownKeys(each, inner, [...path, key]))
  if (item) return list(value).flatMap((each, i) => unknownKeys(item, each, [...path, i]))
  if (!entries) return []
  return Object.entries(map(value)).flatMap(([key, inner]) => {
    const known = Object.hasOwn(entries, key) ? entries[key] : undefined
    if (known) return unknownKeys(known, inner, [...path, key])
    const words = path.filter((part) => typeof part === 'string').join('.')
    const where = { '': 'cluster.yaml', nodes: 'a node', users: 'a user' }[words] ?? words
    return [atKey([...path, key], `is an unknown key in ${where}`, suggest(key, Object.keys(entries)))]
  })
}
