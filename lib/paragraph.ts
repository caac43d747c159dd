/** Text broken to fit a terminal. Pure. */
import { stripVTControlCharacters } from 'node:util'

/** Broken between words; the first line begins at the one column, the others at the other. */
export function breakLines(text: string, width: number, first: number, others: number): string[] {
  // An option stays with what it follows: the first line of a command, copied alone, would run without it.
  const [head = '', ...words] = text.split(/ (?!--)/)
  const lines: string[] = []
  let line = ' '.repeat(first) + head
  for (const word of words) {
    const isTooLong = stripVTControlCharacters(line).length + 1 + stripVTControlCharacters(word).length > width
    if (isTooLong && word !== '') {
      lines.push(line.trimEnd())
      line = ' '.repeat(others) + word
    } else line += ` ${word}`
  }
  return [...lines, line]
}

/** Breaks each line, except commands to type, which begin with four blanks and are copied as they are. */
export function fit(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => (line.startsWith('    ') ? [line] : breakLines(line, width, 0, 2)))
}
