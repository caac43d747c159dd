/** cluster.yaml as tests write it, and what parseCluster says of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Cluster, parseCluster } from '../../lib/cluster/cluster.ts'
import { formatExplained } from '../../lib/wording.ts'
import { known } from '../../tasks/tables/files.ts'

/** Only what has no default. */
export const minimal = `name: kubenet
api: { virtualIP: 10.0.0.1 }
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
`

/** The minimal file with one part of it replaced. */
export function edited(from: string, to: string): string {
  assert.ok(minimal.includes(from), `${from} is not in the minimal file`)
  return minimal.replace(from, () => to)
}

export function parsed(text: string | Uint8Array): Cluster {
  const result = parseCluster(Buffer.from(text), known)
  if ('problems' in result) assert.fail(result.problems.map(formatExplained).join('\n'))
  return result.cluster
}

/** `line:column: message` of each problem. */
export function problemsOf(text: string | Uint8Array): string[] {
  const result = parseCluster(Buffer.from(text), known)
  return 'problems' in result
    ? result.problems.map((problem) => `${problem.line}:${problem.column}: ${formatExplained(problem)}`)
    : []
}

export type BadFiles = Readonly<Record<string, readonly [text: string | Uint8Array, ...problems: string[]]>>

/** A test for each file: all that is said of it, nothing else. */
export function testBadFiles(files: BadFiles): void {
  for (const [title, [text, ...problems]] of Object.entries(files))
    test(title, () => assert.deepEqual(problemsOf(text), problems))
}
