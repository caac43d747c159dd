/** Text broken to fit a terminal. Pure. */
import wrapAnsi from 'wrap-ansi'

/** The first line begins at the one column, the others at the other. */
export function breakLines(text: string, width: number, first: number, others: number): string[] {
  // What does not fit a narrow terminal goes on one column after another.
  const lines = wrapAnsi(' '.repeat(first) + text, Math.max(width - others, 20), { hard: true, trim: false }).split(
    '\n',
  )
  return lines.map((line, i) => (i === 0 ? line : ' '.repeat(others) + line.trimStart()).trimEnd())
}
