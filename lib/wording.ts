/** Text formatting shared by all output. Pure. */

import type { Mistake } from './failure.ts'

const hour = 3_600_000

export function formatDate(date: Date): string {
  return date.toISOString().slice(0, 10)
}

/** Of milliseconds: "3649d", "31h" where it is less than two days, "expired". */
export function formatLeft(milliseconds: number): string {
  if (milliseconds <= 0) return 'expired'
  const hours = Math.floor(milliseconds / hour)
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`
}

/** The first few by name, the rest by number. */
export function formatNames(names: readonly string[]): string {
  const shown = names.length > 4 ? 3 : names.length
  const rest = names.length - shown
  return names.slice(0, shown).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}

/** "1 file", "14 files" */
export function countFiles(count: number): string {
  return count === 1 ? '1 file' : `${count} files`
}

/** Of a mode: "0600". */
export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0')
}

/** Without what could move the cursor, recolour the terminal or turn the text round: parts come from files and nodes. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (char) =>
    char === '\n' ? char : '\uFFFD',
  )
}

/** As no key begins by chance. */
const isPath = /^\/(etc|home|media|mnt|opt|root|run|srv|tmp|usr|var)\//

/** Without words so long that they could be keys or tokens; a path is none. */
export function withoutKeys(text: string, instead: (word: string) => string = () => '…'): string {
  return text.replace(/[A-Za-z0-9+/=_-]{40,}/g, (word) => (isPath.test(word) ? word : instead(word)))
}

/** Of what a program elsewhere said: one line, not too long, without what could be a key. */
export function excerpt(said: string): string {
  return withoutKeys(printable(said.trim().replace(/\s*\n\s*/g, ' '))).slice(0, 160)
}

/** Replaces a target's own name by `<name>`, so that the same message about many targets can be folded. */
export function withoutOwnName(text: string, name: string): string {
  return text.replace(new RegExp(`(?<![\\w-])${name}(?=-key\\.pem|[.,;\\s]|$)`, 'g'), '<name>')
}

/** Groups of at least one, in the order of their first. */
export function groupAlike<T>(items: Iterable<T>, key: (item: T) => unknown): [T, ...T[]][] {
  return [...Map.groupBy(items, key).values()] as [T, ...T[]][]
}

/** As one word for a POSIX shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/**
 * A mistake as GitHub shows it beside the line, on the summary of the run and in a pull request:
 * https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#setting-an-error-message
 */
export function formatAnnotation({ file, line, column, message }: Mistake): string {
  const data = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
  const property = (text: string) => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C')
  return `::error file=${property(file)},line=${line},col=${column}::${data(printable(message))}`
}

/**
 * What a node or a file says may look like a command to the runner, which takes one wherever a line begins with it:
 * https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
 */
export function withoutCommands(text: string): string {
  return text.replace(/^(\s*)(?=::|##\[)/gm, '$1| ')
}
