/** `completion`: a script by which a shell completes command lines, and what it offers: words of the tables and of cluster.yaml. */
import { dirname, join } from 'node:path'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { tryTo } from '../../lib/failure.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { quote } from '../../lib/wording.ts'
import { ownForm, program } from '../request/host.ts'
import type { Finding } from '../request/job.ts'
import { type OptionName, optionTable, usage } from '../request/options.ts'
import type { Call } from '../request/session.ts'
import { groups, phases } from '../tables/phases.ts'

/** Each calls `completion SHELL -- WORD...` with the words up to the cursor, and offers files if that prints nothing. */
const scripts: Readonly<Record<string, string>> = {
  // In bash a word begins at an @ too (COMP_WORDBREAKS): of user-certs/jane@example.org only the end is replaced.
  bash: `_harderway() {
  local words word
  read -ra words <<<"\${COMP_LINE:0:COMP_POINT}."
  word=\${words[-1]%.}
  words[-1]=$word
  mapfile -t COMPREPLY < <(harderway completion bash -- "\${words[@]:1}" 2>/dev/null)
  [[ $word != *@* ]] || COMPREPLY=("\${COMPREPLY[@]#"\${word%@*}"}")
}
complete -o default -F _harderway harderway`,
  zsh: `_harderway() {
  local found
  found=$(harderway completion zsh -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)
  if [[ -n $found ]]; then compadd -- \${(f)found}; else _files; fi
}
compdef _harderway harderway`,
}

/** What is completed of a command. */
interface Row {
  readonly name: string
  readonly operands?: string
  readonly options: readonly OptionName[]
}

/** The table of commands: it loads this file. */
export interface Table {
  readonly run: Row
  readonly commands: readonly Row[]
  readonly commonOptions: readonly OptionName[]
  readonly questions: readonly OptionName[]
}

/** Throws a usage Failure for an unknown shell. */
export async function completion(call: Call, table: Table): Promise<readonly Finding[]> {
  const [, shell = '', ...words] = call.options.names
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined
  if (script === undefined) throw usage(`completion needs a shell: ${Object.keys(scripts).join(' or ')}`, 'completion')
  const text = `${formatFunction()}\n${script}`
  if (words.length === 0) call.print(call.options.json ? formatJsonLine({ type: 'completion', shell, text }) : text)
  else for (const word of await complete(words, call, table)) call.print(word)
  return []
}

/** The command that is completed. In a clone it does what npm does, so that what it prints to be typed is right. */
function formatFunction(): string {
  const [, entry] = program
  const start = `${program.map(quote).join(' ')} "$@"`
  const body =
    ownForm === 'clone'
      ? `(export INIT_CWD="$PWD" && cd ${quote(join(dirname(entry), '..'))} && exec ${start})`
      : `{ ${start}; }`
  return `harderway() ${body}`
}

/** What the last word may be completed to. */
async function complete(words: readonly string[], call: Call, table: Table): Promise<string[]> {
  const before = words.slice(0, -1)
  const word = words.at(-1) ?? ''
  const offers = new Set(await offersAfter(before, word, call, table))
  return [...offers].filter((offer) => offer.startsWith(word))
}

async function offersAfter(
  before: readonly string[],
  word: string,
  call: Call,
  table: Table,
): Promise<readonly string[]> {
  const { commands, run } = table
  const { values, positionals } = parseArgs({
    args: [...before],
    options: optionTable as unknown as ParseArgsOptionsConfig,
    allowPositionals: true,
    strict: false,
  })
  const cluster = async () => await readNames(values.config, call)
  const last = before.at(-1) ?? ''
  if (last === '--node') return (await cluster()).nodes
  if (takesValue(last)) return []
  const [first] = positionals
  const command = first === undefined ? undefined : (commands.find(({ name }) => name === first) ?? run)
  if (word.startsWith('-'))
    return optionsOf(command, table).filter((name) => !before.includes(name) || name === '--node')
  if (command && command !== run) return positionals.length === 1 ? operandsOf(command) : []
  return [
    ...Object.keys(groups),
    ...phases.map(({ name }) => name),
    ...(command ? [] : commands.map(({ name }) => name)),
    // Only after a first letter: there may be thousands.
    ...(word === '' ? [] : (await cluster()).targets),
  ].filter(Boolean)
}

function takesValue(word: string): boolean {
  const name = word.slice(2)
  return word.startsWith('--') && Object.hasOwn(optionTable, name) && optionTable[name as OptionName].type === 'string'
}

function optionsOf(command: Row | undefined, { run, commonOptions, questions }: Table): string[] {
  const { options } = command ?? run
  return [...options, ...commonOptions, ...(command ? ['help'] : questions)].map((name) => `--${name}`)
}

/** `ca | service-account | encryption-key` are words, `DIR` is not. */
function operandsOf({ operands = '' }: Row): string[] {
  return operands.includes(' | ') ? operands.split(' | ') : []
}

/** Of the cluster.yaml in use; none if it can't be read. */
async function readNames(config: unknown, call: Call) {
  const typed = typeof config === 'string' ? config.replace(/^~(?=\/)/, String(call.env.HOME)) : undefined
  const { clusterPath, readCluster } = await import('../request/cluster-file.ts')
  const { clusterGraph } = await import('../phases/table.ts')
  const read = tryTo(() => readCluster(clusterPath(call, typed)))
  return {
    nodes: read?.cluster.nodes.map(({ name }) => name) ?? [],
    targets: read ? [...clusterGraph(read.cluster).keys()] : [],
  }
}
