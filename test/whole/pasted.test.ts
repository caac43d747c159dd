/** What is printed to be pasted is whole in a terminal of any width: what its lines are pasted into takes it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { parse } from 'yaml'
import { refusal } from '../../lib/failure.ts'
import { sshFailure } from '../../lib/node/connection.ts'
import { typedCommand } from '../../lib/node/ssh-config.ts'
import { notices } from '../../lib/show/reporter.ts'
import { formatFailure, formatToDo } from '../../lib/show/rows.ts'
import { fit } from '../../lib/wording.ts'
import { revokedLine } from '../../tasks/auth/accepted.ts'
import { and, parsed, scratch } from '../support/files.ts'

const widths = [40, 80, 120, 150, 164, 250]

/** An ssh that only writes down how it was called. */
function standIn(folder: string) {
  const [bin, calls] = [join(folder, 'bin'), join(folder, 'calls')]
  mkdirSync(bin)
  writeFileSync(join(bin, 'ssh'), `#!/bin/sh\necho ssh "$@" >>${calls}\n`, { mode: 0o755 })
  return (typed: string): string => {
    writeFileSync(calls, '')
    const env = { PATH: [bin, process.env.PATH].join(delimiter) }
    execFileSync('sh', ['-e'], { cwd: folder, env, input: typed })
    return readFileSync(calls, 'utf8')
  }
}

/** The lines from the first that begins so, to the last before one that begins with the other. */
function linesFrom(text: string, begins: RegExp, ends: RegExp): string {
  const lines = text.split('\n')
  const from = lines.findIndex((line) => begins.test(line))
  assert.ok(from >= 0, text)
  const to = lines.findIndex((line, i) => i > from && ends.test(line))
  return `${lines.slice(from, to < 0 ? undefined : to).join('\n')}\n`
}

function toDo(text: string, columns?: number): string {
  return stripVTControlCharacters(formatToDo({ rows: new Map(), notices: notices('todo', text) }, columns).join('\n'))
}

for (const configFile of [undefined, 'ssh config'])
  test(`a node whose host key is unknown is connected to${configFile ? ' by a configuration' : ''}, as typed`, (t) => {
    const run = standIn(scratch(t))
    const use = { folder: '/srv/my clusters', ssh: { configFile } }
    const host = { ssh: (options: readonly string[]) => typedCommand('ssh', use, options, `ubuntu@${name} true`) }
    const [name, stderr] = ['worker0.prague.example.org', 'Host key verification failed.\r\n']
    const result = { node: 'worker0', host, stderr, folder: '/', ended: 'status 255', timedOut: false }
    const text = formatFailure(sshFailure({ ...result, by: 'ssh' }))
    // The folder of the configuration is not here.
    const typed = (columns?: number) =>
      linesFrom(fit(text, columns), /^ {4}(ssh -|\(cd )/, /^ {4}or trust/).replaceAll("'/srv/my clusters'", '.')
    const whole = run(typed())
    assert.match(whole, /^ssh .*-o StrictHostKeyChecking=ask ubuntu@worker0\.\S+ true$/m)
    for (const columns of widths) assert.equal(run(typed(columns)), whole, fit(text, columns))
  })

describe('a list of who is revoked is the same YAML:', () => {
  for (const entries of [['w-1', 'jane'], Array.from({ length: 60 }, (_, i) => `worker${i}`)])
    test(`${entries.length} entries`, () => {
      const line = revokedLine({ cluster: parsed(and('')) }, entries)
      const refused = formatFailure(
        refusal('control0 lists more than revoked in cluster.yaml', [
          `write ${line} in cluster.yaml`,
          `or restore access, with every certificate that is still valid: npm run task -- revoked install`,
        ]),
      )
      const left = `certificates of jane are accepted; to revoke them, write ${line} in cluster.yaml`
      for (const columns of widths)
        for (const text of [fit(refused, columns), toDo(left, columns)]) {
          const [pasted = ''] = /revoked: .*\]/.exec(text) ?? []
          assert.deepEqual(parse(`name: kubenet\n${pasted}\nnodes: []\n`).revoked, entries, text)
        }
    })
})
