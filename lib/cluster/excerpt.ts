/** The line of cluster.yaml in which a problem is, with a caret below its column. Pure. */
import { withoutKeys } from '../wording.ts'
import type { PlacedProblem } from './cluster.ts'

const indent = '    '

/** Two lines, no wider than so many columns where that leaves room for a few words; nothing where the line is blank. */
export function formatExcerpt(text: string, { line, column }: PlacedProblem, width: number): string | undefined {
  // A tab is as wide as the terminal likes: as a blank it keeps the caret in its place.
  const whole = withoutSecrets((text.split('\n')[line - 1] ?? '').trimEnd().replaceAll('\t', ' '))
  if (whole === '') return undefined
  const room = Math.max(20, width - indent.length)
  const at = Math.min(column - 1, whole.length)
  const from = at < room - 1 ? 0 : at - Math.floor(room / 2)
  const shown = [
    from > 0 ? '…' : whole.slice(0, 1),
    whole.slice(from + 1, from + room - 1),
    from + room < whole.length ? '…' : whole.slice(from + room - 1),
  ].join('')
  const before = [...new Intl.Segmenter().segment(shown.slice(0, at - from))].length
  return `${indent}${shown.toWellFormed()}\n${indent}${' '.repeat(before)}^`
}

/** With a wrong --config the line may be a kubeconfig's. */
function withoutSecrets(line: string): string {
  return withoutKeys(line, (word) => '…'.repeat(word.length))
}
