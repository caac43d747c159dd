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
  const long = [...text.matchAll(command)].find(([{ length }]) => length > width - others)
  if (long) return breakAround(text, long, width, first, others)
  const wrapAnsi = wrapper()
  const wrap = (words: string, indent: number) =>
    wrapAnsi(words, Math.max(width - indent, narrowest), { hard: true }).split('\n')
  // wrap-ansi normalizes to NFC; the text must be normalized first so that offsets match.
  const words = glueCommands(text.normalize())
  const [head = ''] = wrap(words, first)
  const rest = words.slice(head.length).trimStart()
  const lines = rest === '' ? [] : wrap(rest, others)
  return [' '.repeat(first) + head, ...lines.map((line) => ' '.repeat(others) + line)].map((line) =>
    line.replaceAll(glue, ' '),
  )
}

/** No blank at which a line is broken, and in no text of ours. */
const glue = '\u00a0'

/** To be typed: it ends before a punctuation mark or a bracket. */
const command =
  /\b(?:npm run|npm --prefix|npx harderway|kubectl (?:get|delete)|ps -fp|rm(?= [/'])|chown) .*?(?=[,;:.)]+(?: |$)|$)/g

/** One that fits is copied as one line. */
function glueCommands(text: string): string {
  return text.replace(command, (found) => found.replaceAll(' ', glue))
}

/** What is longer stands on a line of its own: a terminal breaks it so that it is copied whole. */
function breakAround(text: string, { 0: found, index }: RegExpExecArray, width: number, first: number, others: number) {
  const before = text.slice(0, index).trimEnd()
  const [marks = ''] = /^[,;:.)]*/.exec(text.slice(index + found.length)) ?? []
  const after = text.slice(index + found.length + marks.length).trimStart()
  return [
    ...(before === '' ? [] : breakLines(before, width, first, others)),
    ' '.repeat(before === '' ? first : others) + found + marks,
    ...(after === '' ? [] : breakLines(after, width, others, others)),
  ]
}

/** Each line broken between words, but for what is to be typed, which begins with four blanks and is copied as it is. */
export function fit(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => (line.startsWith('    ') ? [line] : breakLines(line, width, 0, 2)))
}
