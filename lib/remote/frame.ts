/**
 * The frame around a script's answer: two lines with a nonce, the last with the number of records. Whatever a login prints
 * before or after is ignored; a truncated, repeated or missing answer is an error. Pure.
 */
import { Failure } from '../failure.ts'
import { excerpt } from '../wording.ts'

export interface Answer {
  /** One per line. A line that begins with a blank belongs to the previous record, and is not counted. */
  readonly records: readonly string[]
  /** Set where the script stopped early: its reason as one word, and the message of the tool that failed. */
  readonly stopped: { readonly why: string; readonly said: string } | undefined
}

/** Shell: `say` prints a record, and $n counts them. */
export const sayFunction = `n=0
nl='
'
say() { n=$((n + 1)); printf '%s\\n' "$*"; }`

/** Shell functions: `say`, and `stop`, which prints a reason and exits. Leaves the answer open. */
export function openAnswer(nonce: string): string {
  return `${sayFunction}
stop() { printf '${nonce} stopped %s %s\\n' "$1" "\${2%%"$nl"*}"; exit 0; }
printf '\\n${nonce} begin\\n'`
}

export function closeAnswer(nonce: string): string {
  return `printf '${nonce} end %s\\n' "$n"`
}

/** Throws a Failure if the answer is incomplete. */
export function readAnswer(output: string, nonce: string): Answer {
  const lines = output.split('\n')
  const marks = lines.flatMap((line, i) =>
    line.startsWith(`${nonce} `) ? [{ i, text: line.slice(nonce.length + 1) }] : [],
  )
  const [begin, end, ...more] = marks
  if (!begin || !end || more.length > 0 || begin.text !== 'begin') throw notWhole()
  const records = lines.slice(begin.i + 1, end.i)
  const [, why, said] = /^stopped (\S+) (.*)$/.exec(end.text) ?? []
  if (why !== undefined) return { records, stopped: { why, said: excerpt(said ?? '') } }
  if (end.text !== `end ${records.filter((line) => !line.startsWith(' ')).length}`) throw notWhole()
  return { records, stopped: undefined }
}

export function notWhole(): Failure {
  return new Failure('its answer is incomplete', {
    code: 'no-answer',
    remedy:
      'check what a command prints there (ssh to it, echo ok): its login shell must run it and let its output through',
  })
}
