/** What a component's command line says: its flags, and the YAML file that it names. Pure. */
import { isMap, visit } from 'yaml'
import { memoised } from '../../lib/files/plain-file.ts'
import { type PlacesState, realPath } from '../../lib/node/state.ts'
import { parseYaml } from '../../lib/yaml.ts'

export type CommandLine = Readonly<ReturnType<typeof readCommand>>

const configs = ['--config', '--config-file']
/** Of kube-apiserver: it reads its encryption config again when that has changed. */
export const reloadFlag = '--encryption-provider-config-automatic-reload'

/** Go's strconv.ParseBool. */
const isTrue = (value: string): boolean => /^(1|t|T|true|TRUE|True)$/.test(value)

/** Without the slashes and dots that the kernel skips. */
const withoutDots = (path: string): string => path.replaceAll(/(?<!:)\/+(\.\/+)*/g, '/')

export function readCommand(args: readonly string[], places: Pick<PlacesState, 'real' | 'contents'>) {
  const flags = readFlags(args)
  let config: Config | undefined
  const valuesOf = (by: string) => {
    const values = by.startsWith('--') ? (flags.get(by) ?? []) : [config?.get(by) ?? '']
    return values.map(withoutDots).filter(Boolean)
  }
  /** The first of the settings that is set, with its values: a flag, or a path in the YAML file. */
  const named = (by: readonly string[]) => {
    const set = by.find((each) => valuesOf(each).length > 0) ?? by[0] ?? ''
    const paths = valuesOf(set)
    return { by: set, paths, path: paths.at(-1) }
  }
  /** The value that counts of a flag which may be given more than once. */
  const last = (flag: string) => named([flag]).path
  const { by: configFlag, path } = named(configs)
  const bytes = path === undefined ? undefined : places.contents.get(realPath(places, path))
  config = bytes && parseConfig(bytes)
  /** Why not all that it says is known. */
  const unread =
    (flags.has('--config-dir') && 'files in its --config-dir may override its --config') ||
    (path !== undefined && !config && `couldn't read its --config ${path}`) ||
    undefined
  return {
    unread,
    /** The YAML file that it names, and by which setting. */
    configFlag,
    config: path,
    flags: [...flags.keys()],
    named,
    last,
    isSet: (flag: string) => isTrue(last(flag) ?? ''),
  }
}

/**
 * The values of each flag, with its hyphens. As pflag reads them: `--name=value`, `--name value`, and of a yes or no
 * `--name` alone. etcd takes one hyphen too.
 */
function readFlags(args: readonly string[]): Map<string, string[]> {
  const flags = args.flatMap((arg, at) => {
    const [, given, value] = /^--?([a-zA-Z][^=]*)(?:=(.*))?$/s.exec(arg) ?? []
    if (given === undefined) return []
    const name = `--${given.replaceAll('_', '-')}`
    const next = args[at + 1] ?? '--'
    const isAlone = value !== undefined || name === reloadFlag || next.startsWith('-')
    return { name, value: value ?? (isAlone ? 'true' : next) }
  })
  const byName = Map.groupBy(flags, ({ name }) => name)
  return new Map([...byName].map(([name, all]) => [name, all.map(({ value }) => value)]))
}

interface Config {
  get(path: string): string | undefined
}

/** Undefined if it is nothing that a component could read. Once a look, in which several ask what the units read. */
const parseConfig = memoised((bytes): Config | undefined => {
  // sigs.k8s.io/yaml reads YAML 1.1, where yes and on are true.
  const config = parseYaml(bytes.toString(), { schema: 'yaml-1.1' })
  if (config.errors.length > 0) return undefined
  // Nothing but comments.
  if (config.contents === null) return { get: () => undefined }
  let isOdd = !isMap(config.contents) || config.has('<<')
  visit(config, {
    Alias() {
      isOdd = true
    },
  })
  const get = (key: string) => {
    const value = config.getIn(key.split('.'))
    return ['string', 'boolean'].includes(typeof value) ? String(value) : undefined
  }
  return isOdd ? undefined : { get }
})
