/** Reads the cluster.yaml in use, and formats the mistakes in it. */
import { readFileSync, statSync } from 'node:fs'
import { type Cluster, type PlacedProblem, parseCluster } from '../../lib/cluster/cluster.ts'
import type { Path } from '../../lib/cluster/problem.ts'
import { doing, Failure, usageFailure } from '../../lib/failure.ts'
import { formatExplained, withoutKeys } from '../../lib/wording.ts'
import { known } from '../tables/files.ts'
import { formatCommand } from './host.ts'

export interface ClusterFile {
  readonly cluster: Cluster
  /** For a mistake that is found only when a value is used. */
  readonly mistake: (path: Path, message: string) => Failure
}

/** Throws a usage Failure with every problem. */
export function readCluster(file: string): ClusterFile {
  const bytes = doing('read', file, () => readWhole(file), 'usage')
  const parsed = parseCluster(bytes, known)
  const text = new TextDecoder().decode(bytes)
  const wrong = (problems: readonly PlacedProblem[]) => {
    const lines = problems.flatMap((problem) => [
      `${file}:${problem.line}:${problem.column}: ${formatExplained(problem)}`,
      formatExcerpt(text, problem) ?? [],
    ])
    const mistakes = problems.map((problem) => ({ file, ...problem }))
    return new Failure(lines.flat().join('\n'), { kind: 'usage', mistakes })
  }
  if ('problems' in parsed) throw wrong(parsed.problems)
  return { cluster: parsed.cluster, mistake: (path, message) => wrong([parsed.problemAt(path, message)]) }
}

/** Reading a pipe would block until somebody writes into it; a device may have no end. */
function readWhole(file: string): Buffer {
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) throw usageFailure(`there is no ${file}`, `make one, with its folder: ${formatCommand('init DIR')}`)
  if (!stat.isFile()) throw usageFailure(`${file} is not a plain file`, 'give the cluster.yaml itself: --config FILE')
  return readFileSync(file)
}

/** Beyond these no excerpt is shown: the message has the column. */
const mostColumns = 200

/** The line with a caret below the column. Undefined if the line is blank or too long. */
export function formatExcerpt(text: string, { line, column }: PlacedProblem): string | undefined {
  // A tab's width depends on the terminal: as a blank it keeps the caret in its place.
  const written = (text.split('\n')[line - 1] ?? '').trimEnd().replaceAll('\t', ' ')
  // With a wrong --config the line may be a kubeconfig's.
  const whole = withoutKeys(written, (word) => '…'.repeat(word.length))
  if (whole === '' || column > mostColumns) return undefined
  const before = Math.min(column - 1, whole.length)
  return `    ${whole.slice(0, mostColumns)}\n    ${' '.repeat(before)}^`
}
