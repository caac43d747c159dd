/**
 * kubectl's current context: only a run that has reached a control node changes it, and what is printed to be typed
 * leads on.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, test } from 'node:test'
import { parse } from 'yaml'
import { type Edit, exits, labEdits, type Ran, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const prod = `apiVersion: v1
kind: Config
clusters:
- {name: prod, cluster: {server: "https://prod:6443"}}
contexts:
- {name: prod, context: {cluster: prod, user: prod}}
current-context: prod
users:
- {name: prod, user: {token: abc}}
`

describe('the current context', { skip: needs('ssh', 'kubectl') }, () => {
  const suite = localPlace('control0', 'worker0')
  const { place } = suite
  const config = join(place, 'home/.kube/config')
  const current = () => parse(readFileSync(config, 'utf8'))['current-context']
  const told = ({ stdout, stderr }: Ran) => (stdout + stderr).replaceAll(/\n +/g, ' ')
  /** What is printed, typed in a shell. */
  const type = (command: string) =>
    execFileSync('sh', ['-c', command], { env: { PATH: process.env.PATH, HOME: join(place, 'home') } })

  before(() => {
    const nodes = ['control', 'worker'].map((role, i) => ({ name: `${role}0`, role, ip: `192.168.1.1${i}` }))
    const edits: Edit[] = [...labEdits(suite.lab), [['nodes'], nodes]]
    writeCluster(place, edits)
  })
  beforeEach(() => {
    for (const path of ['auth', 'home/.kube', ...suite.lab.nodes.map(({ home }) => home.slice(place.length))])
      rmSync(join(place, path), { recursive: true, force: true })
    for (const { home } of suite.lab.nodes) mkdirSync(home)
    mkdirSync(join(place, 'home/.kube'))
    writeFileSync(config, prod)
  })

  test('is changed by a run that deploys to a control node, as its plan says, with the way back', async () => {
    await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
    assert.match(told(await exits(4, place, 'bootstrap', '--dry-run')), /current-context \(was prod\)/)
    const ran = told(await exits(0, place, 'bootstrap'))
    assert.equal(current(), 'kubenet')
    const [, back = ''] = /switch to prod: (kubectl config use-context prod --kubeconfig \S+)/.exec(ran) ?? []
    type(back)
    assert.equal(current(), 'prod')
    await exits(0, place, 'bootstrap')
    assert.equal(current(), 'prod')
  })

  test('stays where a worker alone was reached; the way there is printed', async () => {
    await exits(0, place, 'certs', 'encryption-key')
    const alone = told(await exits(0, place, 'deploy/worker0', 'local-kubeconfig'))
    assert.equal(current(), 'prod')
    const [command = ''] = /kubectl config use-context kubenet --kubeconfig \S+/.exec(alone) ?? []
    type(command)
    assert.equal(current(), 'kubenet')
  })
})
