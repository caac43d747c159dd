/** What a component's command line says: its flags, and the YAML file that it names. Pure. */
import { isMap } from 'yaml'
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
  let fields: Fields | undefined
  const valuesOf = (by: string) => {
    const values = by.startsWith('--') ? (flags.get(by) ?? []) : [fields?.(by) ?? '']
    return values.map(withoutDots).filter(Boolean)
  }
  /** The first of the settings that is set, with its values: a flag, or a path in the YAML file. */
  const named = (by: readonly string[]) => {
    const set = by.find((each) => valuesOf(each).length > 0) ?? by[0] ?? ''
    const paths = valuesOf(set)
    return { by: set, paths, path: paths.at(-1) }
  }
  const last = (flag: string) => named([flag]).path
  const { by: configFlag, path: config } = named(configs)
  const bytes = config === undefined ? undefined : places.contents.get(realPath(places, config))
  fields = bytes && parseFields(bytes)
  return {
    configFlag,
    config,
    isConfigRead: config === undefined || fields !== undefined,
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

type Fields = (path: string) => string | undefined

/** Undefined if it is no map. What an alias or `<<` brings in is not read. Once a look. */
const parseFields = memoised((bytes): Fields | undefined => {
  const { errors, contents } = parseYaml(bytes.toString())
  if (errors.length > 0 || !isMap(contents)) return undefined
  return (path) => {
    const value = contents.getIn(path.split('.'))
    return typeof value === 'string' ? value : undefined
  }
})
