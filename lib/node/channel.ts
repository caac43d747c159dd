/**
 * Sends node.sh with a verb and its values over the node's connection, and reads the answer: records between two lines
 * with a nonce, the last of which has their number. Whatever a login prints before or after is ignored; an answer that
 * is cut off, repeated or missing is an error.
 */
import { readFileSync } from 'node:fs'
import { Failure } from '../failure.ts'
import { excerpt, quote } from '../wording.ts'

export type Verb = 'look' | 'replace' | 'back' | 'forget' | 'run'

/** Without comments and indentation, which need not travel. */
const program = quote(
  readFileSync(new URL('./node.sh', import.meta.url), 'utf8')
    .replaceAll(/^ *(#.*)?\n/gm, '')
    .replaceAll(/^ +/gm, ''),
)

/**
 * What the node's sh reads from its input. The connection may be lost halfway: with the braces, nothing is done before
 * all of it has been read. The values are a quoted here-document: no shell expands them. A value that is a list has no
 * blank in its items.
 */
export function message(verb: Verb, lines: readonly string[], nonce: string): string {
  if (lines.some((line) => line.includes('\n'))) throw new Error('a value with a line break')
  return `{\nprogram=${program}\neval "$program"\nmain "$program" ${verb} ${nonce} <<'${nonce}'\n${lines.join('\n')}\n${nonce}\nexit\n}\n`
}

interface Answer {
  /** One per line. A line that begins with a blank belongs to the previous record, and is not counted. */
  readonly records: readonly string[]
  /** Set where it stopped early: the reason as one word, and the message of the tool that failed. */
  readonly stopped: { readonly why: string; readonly said: string } | undefined
}

/** The part of that name. Throws a Failure if it is incomplete. */
export function readAnswer(output: string, nonce: string, part: string): Answer {
  const name = `${nonce}-${part} `
  const lines = output.split('\n')
  const marks = lines.flatMap((line, i) => (line.startsWith(name) ? [{ i, text: line.slice(name.length) }] : []))
  const [first, last = first, ...more] = marks
  if (!first || !last || more.length > 0) throw notWhole()
  const [, why, said = ''] = /^stopped (\S+) (.*)$/.exec(last.text) ?? []
  // A shell that could not be started has opened no answer.
  if (first !== last ? first.text !== 'begin' : why === undefined) throw notWhole()
  const records = lines.slice(first.i + 1, last.i)
  if (why !== undefined) return { records, stopped: { why, said: excerpt(said) } }
  if (last.text !== `end ${records.filter((line) => !line.startsWith(' ')).length}`) throw notWhole()
  return { records, stopped: undefined }
}

export function notWhole(): Failure {
  return new Failure('its answer is incomplete', {
    code: 'no-answer',
    remedy:
      'check that echo ok, run through ssh, prints ok; the login shell must run commands and pass on their output',
  })
}

/** Of a shell that node.sh starts: root's, or for a command. */
export function shellEnded(said: string): Failure {
  return new Failure(`a shell on the node ended early (${said})`, { code: 'other' })
}
