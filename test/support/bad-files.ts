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

/** The minimal file with something behind it. */
export const and = (text: string): string => `${minimal}${text}\n`

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

/** With no problem, or with these and no others: `line:column` and words of each message. */
export type Checked = readonly [text: string | Uint8Array, ...problems: string[]]

export function testFiles(title: string, files: readonly Checked[]): void {
  test(title, () => {
    for (const [text, ...expected] of files) {
      const found = problemsOf(text).map((said, i) => {
        const [, place = '', words = ''] = /^(\S+) (.*)$/.exec(expected[i] ?? '') ?? []
        return said.startsWith(`${place}: `) && said.includes(words) ? expected[i] : said
      })
      assert.deepEqual(found, expected, text.toString())
    }
  })
}
