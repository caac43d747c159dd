/** What is printed to be pasted is whole in a terminal of any width: what its lines are pasted into takes it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'
import { sshFailure } from '../../lib/node/connection.ts'
import { typedCommand } from '../../lib/node/ssh.ts'
import { formatFailure } from '../../lib/show/rows.ts'
import { fit } from '../../lib/wording.ts'
import { scratch } from '../support/files.ts'

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

for (const configFile of [undefined, 'ssh config'])
  test(`a node whose host key is unknown is connected to${configFile ? ' by a configuration' : ''}, as typed`, (t) => {
    const run = standIn(scratch(t))
    const config = configFile ? ['-F', `/srv/my clusters/${configFile}`] : []
    const typed = (options: readonly string[]) =>
      typedCommand('/srv/my clusters', config, [...options, 'ubuntu@worker0.prague.example.org', 'true'])
    const said = 'Host key verification failed.\r\n'
    const text = formatFailure(sshFailure({ node: 'worker0', typed, said, folder: '/' }))
    // The folder of the configuration is not here.
    const lines = (columns?: number) =>
      linesFrom(fit(text, columns), /^ {6}(ssh -|\(cd )/, /^ {2}or trust/).replaceAll("'/srv/my clusters'", '.')
    const whole = run(lines())
    assert.match(whole, /^ssh .*-o StrictHostKeyChecking=ask ubuntu@worker0\.\S+ true$/m)
    for (const columns of widths) assert.equal(run(lines(columns)), whole, fit(text, columns))
  })
