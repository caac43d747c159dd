/**
 * `npm run bootstrap --dry-run`: without the `--`, npm takes the option as its own, and the script gets an environment
 * variable in place of it, as it does for each line of an .npmrc (npm 10 and 11). Pure.
 * https://docs.npmjs.com/cli/v11/using-npm/scripts#environment
 */
import { type OptionName, optionNames, optionTable } from './options.ts'

export interface NpmRun {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The texts of the .npmrc files that npm has read. */
  readonly npmrc: readonly string[]
  /** Whether it names a command, a phase or a target. */
  readonly isName: (word: string) => boolean
}

/** What npm took, and the arguments as they were meant. */
export interface Lost {
  readonly options: readonly string[]
  readonly meant: readonly string[]
}

/** Undefined if npm took nothing. */
export function findLostOptions({ args, env, npmrc, isName }: NpmRun): Lost | undefined {
  const variables = readVariables(env)
  const settings = new Set(npmrc.flatMap(keysOf))
  const lost = optionNames.flatMap((name) => {
    const isGiven = args.some((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`))
    const key = bare(name.replace(/^no-/, ''))
    return isGiven || settings.has(key) ? [] : asTyped(name, variables.get(key))
  })
  if (lost.length === 0) return undefined
  // npm turns a value after a space into a positional argument: unambiguous if there is one value and one such argument.
  const [stray, ...strays] = args.filter((arg) => !arg.startsWith('-') && !isName(arg))
  const [valueless, ...others] = lost.filter(({ value }) => value === true)
  const isCertain = stray !== undefined && strays.length === 0 && valueless !== undefined && others.length === 0
  const options = lost.flatMap(({ name, value }) => {
    if (value !== true) return value === undefined ? [`--${name}`] : [`--${name}`, value]
    return [`--${name}`, isCertain ? stray : (optionTable[name].value ?? '')]
  })
  return { options, meant: [...args.filter((arg) => !isCertain || arg !== stray), ...options] }
}

function readVariables(env: NpmRun['env']): Map<string, string> {
  const variables = new Map(
    Object.entries(env)
      .filter(([name]) => name.startsWith('npm_config_'))
      .map(([name, value = '']) => [bare(name.slice('npm_config_'.length)), value]),
  )
  // npm 10 completes --node to --node-options, whose value would be options of Node's.
  const nodeOptions = variables.get('nodeoptions') ?? ''
  if (/^[^\s-]/.test(nodeOptions)) variables.set('node', nodeOptions)
  return variables
}

interface LostOption {
  readonly name: OptionName
  /** True if npm took the value for another argument. */
  readonly value?: string | true
}

/** npm writes `true`, '' for --no-…, and the values of an option that was repeated with an empty line between. */
function asTyped(name: OptionName, variable: string | undefined): LostOption[] {
  const isOff = variable === '' || variable === 'false'
  if (variable === undefined || isOff !== name.startsWith('no-')) return []
  if (optionTable[name].type === 'boolean') return [{ name }]
  return variable.split('\n\n').map((value) => ({ name, value: value === 'true' ? true : value }))
}

/** npm knows an option by `dry-run`, `dry_run` and `DRY_RUN`. */
function bare(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, '')
}

function keysOf(npmrc: string): string[] {
  return [...npmrc.matchAll(/^\s*([\w-]+)\s*(?:\[\])?\s*(?:=|$)/gm)].map(([, key = '']) => bare(key))
}
