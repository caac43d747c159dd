/** `completion`: a script by which a shell completes command lines with the words of the tables. */
import { dirname, join } from 'node:path'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { quote } from '../../lib/wording.ts'
import { phases } from '../bootstrap.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { ownForm, program } from '../run/host.ts'
import { type OptionName, optionNames, optionTable, usage } from '../run/options.ts'

/** Options whose values are offered. */
const valued = ['format', 'layout'] as const

/** Of the table of commands, which loads this file. */
interface Completed {
  readonly name: string
  readonly words?: readonly string[]
  readonly options: readonly OptionName[]
  readonly values?: Readonly<Partial<Record<OptionName, readonly string[]>>>
}

/** Throws a usage Failure for an unknown shell. */
export async function completion(
  { options, print }: Pick<CommandRun, 'options' | 'print'>,
  {
    commands,
    typed: runs,
    common,
  }: {
    readonly commands: readonly Completed[]
    /** Words for several phases. */
    readonly typed: readonly string[]
    readonly common: readonly OptionName[]
  },
): Promise<readonly ExitCause[]> {
  const [, shell = ''] = options.names
  if (shell !== 'bash' && shell !== 'zsh') throw usage('completion needs a shell: bash or zsh', 'completion')
  const typed = (names: readonly OptionName[]) => names.map((name) => `--${name}`)
  const names = [...runs, ...phases.map(({ name }) => name), ...commands.map(({ name }) => name)]
  const cases = commands.map(({ name, words: own = [], options, values = {} }) => {
    const words = (name === '' ? names : own).join(' ')
    return `    ${name || '*'}) words='${words}' options='${typed([...options, ...common]).join(' ')}' ${valued.map((each) => `${each}='${values[each]?.join(' ') ?? ''}'`).join(' ')} ;;`
  })
  const text = `${formatFunction()}
_harderway() {
  local word=\${COMP_WORDS[COMP_CWORD]} words options ${valued.join(' ')}
  case \${COMP_WORDS[1]} in
${[...cases.slice(1), ...cases.slice(0, 1)].join('\n')}
  esac
  [[ $word != -* ]] || words=$options
  case \${COMP_WORDS[COMP_CWORD-1]} in
${valued.map((name) => `    --${name}) words=$${name} ;;`).join('\n')}
    ${typed(optionNames.filter((name) => optionTable[name].type === 'string')).join('|')}) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}complete -o default -F _harderway harderway`
  print(options.json ? formatJsonLine({ type: 'completion', shell, text }) : text)
  return []
}

/** The command that is completed. */
function formatFunction(): string {
  const [, entry] = program
  const start = ownForm === 'package' ? program : [join(dirname(entry), '../bin/harderway')]
  return `harderway() { ${start.map(quote).join(' ')} "$@"; }`
}
