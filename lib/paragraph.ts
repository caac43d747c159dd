/** Text broken to fit a terminal. Pure. */
import { createRequire } from 'node:module'

/** Loaded where something is too long: it is a quarter of what a run with nothing to do takes. */
const require = createRequire(import.meta.url)
const wrapper = () => (require('wrap-ansi') as typeof import('wrap-ansi')).default

/** Columns: narrower terminals get lines of this length. */
const narrowest = 20

/** The first line begins at the one column, the others at the other. */
export function breakLines(text: string, width: number, first: number, others: number): string[] {
  if (/^[!-~]([ -~]*[!-~])?$/.test(text) && text.length <= width - first) return [' '.repeat(first) + text]
  const wrapAnsi = wrapper()
  const wrap = (words: string, indent: number) =>
    wrapAnsi(words, Math.max(width - indent, narrowest), { hard: true }).split('\n')
  // wrap-ansi normalizes to NFC; the text must be normalized first so that offsets match.
  const words = glueCommands(text.normalize(), width - others)
  const [head = ''] = wrap(words, first)
  const rest = words.slice(head.length).trimStart()
  const lines = rest === '' ? [] : wrap(rest, others)
  return [' '.repeat(first) + head, ...lines.map((line) => ' '.repeat(others) + line)].map((line) =>
    line.replaceAll(glue, ' '),
  )
}

/** No blank at which a line is broken, and in no text of ours. */
const glue = '\u00a0'

/** A command of ours is copied as one line, if it is not longer than one. It ends before a punctuation mark or a bracket. */
function glueCommands(text: string, width: number): string {
  return text.replace(/\b(?:npm run|npm --prefix|npx harderway) .*?(?=[,;:.)]+(?: |$)|$)/g, (command) =>
    command.length <= width ? command.replaceAll(' ', glue) : command,
  )
}

/** Each line broken between words, but for what is to be typed, which begins with four blanks and is copied as it is. */
export function fit(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => (line.startsWith('    ') ? [line] : breakLines(line, width, 0, 2)))
}
