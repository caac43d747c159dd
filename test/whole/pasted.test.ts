/** What is printed to be pasted is whole in a terminal of any width: what its lines are pasted into takes it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { parse } from 'yaml'
import { Failure, refusal } from '../../lib/failure.ts'
import type { Outcome } from '../../lib/graph/target.ts'
import { sshFailure } from '../../lib/node/connection.ts'
import { typedCommand } from '../../lib/node/ssh-config.ts'
import { asFindings, type Finding } from '../../lib/results.ts'
import { formatFailure, formatFailures, formatToDo } from '../../lib/show/rows.ts'
import { fit } from '../../lib/wording.ts'
import { revokedLine } from '../../tasks/auth/accepted.ts'
import { refuseContradicted, withOneInstall } from '../../tasks/inspect/declared.ts'
import { unitsOn } from '../../tasks/inspect/reads.ts'
import { allThere, fakeRows, placesWith, runningUnit, startedAs } from '../support/fakes.ts'
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

function toDo(findings: readonly Finding[], columns?: number): string {
  const left = findings.flatMap(({ text, remedy = '', nodes = [] }) =>
    asFindings([text], { owner: 'user', nodes, ...(remedy && { remedy }) }),
  )
  return stripVTControlCharacters(formatToDo({ rows: new Map(), findings: left }, columns).join('\n'))
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
      const left = asFindings([`certificates of jane are accepted; to revoke them, write ${line} in cluster.yaml`])
      for (const columns of widths)
        for (const text of [fit(refused, columns), toDo(left, columns)]) {
          const [pasted = ''] = /revoked: .*\]/.exec(text) ?? []
          assert.deepEqual(parse(`name: kubenet\n${pasted}\nnodes: []\n`).revoked, entries, text)
        }
    })
})

test('the install that says what nodes do is the same YAML', () => {
  const drain = 'kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --timeout=90s --kubeconfig "/srv/a b"'
  const undrain = 'kubectl uncordon NODE; systemctl start node-exporter'
  const install = { sudo: 'sudo -n -u root', drain, undrain, timeout: '3m' }
  const cluster = parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
install: ${JSON.stringify(install)}
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: g0, role: gateway, ip: 10.0.0.5 }
`)
  const folder = '/var/lib/kubernetes-of-this-cluster/with-a-long-name'
  const outcomes = cluster.nodes.flatMap((node): [string, Outcome][] => {
    if (node.role !== 'control') return []
    const processes = [startedAs('kube-apiserver', `--client-ca-file=${folder}/certificates/ca.pem`)]
    const units = new Map([['kube-apiserver', { ...runningUnit, group: processes[0]?.group ?? '' }] as const])
    try {
      refuseContradicted(cluster, node, unitsOn(cluster, node, placesWith({ ...allThere, units, processes })))
    } catch (error) {
      if (error instanceof Failure) return [[`install/${node.name}`, { kind: 'failed', failure: error }]]
    }
    return []
  })
  const [text = ''] = formatFailures(withOneInstall(cluster, fakeRows(Object.fromEntries(outcomes))))
  const block = (columns?: number) => parse(linesFrom(fit(text, columns), /^ +install:/, /^ {0,4}\S/))
  const whole = block()
  assert.deepEqual([whole.install.drain, whole.install.undrain], [drain, undrain])
  for (const columns of widths) assert.deepEqual(block(columns), whole, fit(text, columns))
})
