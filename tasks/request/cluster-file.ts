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
  const format = (problem: PlacedProblem, next?: PlacedProblem) => {
    const { line, column } = problem
    const isLastThere = line !== next?.line || column !== next.column
    const excerpt = isLastThere && formatExcerpt(text, problem)
    return [`${file}:${line}:${column}: ${formatExplained(problem)}`, excerpt].filter(Boolean).join('\n')
  }
  const wrong = (said: string, problems: readonly PlacedProblem[]) =>
    new Failure(said, { kind: 'usage', mistakes: problems.map((problem) => ({ file, ...problem })) })
  if ('problems' in parsed)
    throw wrong(parsed.problems.map((problem, i, all) => format(problem, all[i + 1])).join('\n'), parsed.problems)
  const { cluster, problemAt } = parsed
  const mistake = (path: Path, message: string) => {
    const problem = problemAt(path, message)
    return wrong(format(problem), [problem])
  }
  return { cluster, mistake }
}

/** Reading a pipe would block until somebody writes into it; a device may have no end. */
function readWhole(file: string): Buffer {
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) throw usageFailure(`there is no ${file}`, `make one, with its folder: ${formatCommand('init DIR')}`)
  if (!stat.isFile()) throw usageFailure(`${file} is not a plain file`)
  return readFileSync(file)
}

/** Beyond these no excerpt is shown: the message has the column. */
const mostColumns = 200

/** The line with a caret below the column. Undefined if the line is blank or too long. */
export function formatExcerpt(text: string, { line, column }: PlacedProblem): string | undefined {
  // A tab's width depends on the terminal: as a blank it keeps the caret in its place.
  const whole = withoutSecrets((text.split('\n')[line - 1] ?? '').trimEnd().replaceAll('\t', ' '))
  if (whole === '' || column > mostColumns) return undefined
  const before = Math.min(column - 1, whole.length)
  return `    ${whole.slice(0, mostColumns)}\n    ${' '.repeat(before)}^`
}

/** With a wrong --config the line may be a kubeconfig's. */
function withoutSecrets(line: string): string {
  return withoutKeys(line, (word) => '…'.repeat(word.length))
}
