/** kubectl's current context: only a run that has reached a control node changes it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { exits, labEdits, type Ran, writeCluster } from '../support/harderway.ts'
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

  test('is changed by a run that deploys to a control node, as its plan says, with the way back', async () => {
    const config = join(place, 'home/.kube/config')
    const current = () => parse(readFileSync(config, 'utf8'))['current-context']
    const told = ({ stdout, stderr }: Ran) => (stdout + stderr).replaceAll(/\n +/g, ' ')
    const nodes = ['control', 'worker'].map((role, i) => ({ name: `${role}0`, role, ip: `192.168.1.1${i}` }))
    writeCluster(place, [...labEdits(suite.lab), [['nodes'], nodes]])
    mkdirSync(join(place, 'home/.kube'))
    writeFileSync(config, prod)
    await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
    assert.match(told(await exits(4, place, 'bootstrap', '--dry-run')), /current-context \(was prod\)/)
    const ran = told(await exits(0, place, 'bootstrap'))
    assert.equal(current(), 'kubenet')
    const [, back = ''] = /switch to prod: (kubectl config use-context prod --kubeconfig \S+)/.exec(ran) ?? []
    execFileSync('sh', ['-c', back], { env: { PATH: process.env.PATH, HOME: join(place, 'home') } })
    assert.equal(current(), 'prod')
    await exits(0, place, 'bootstrap')
    assert.equal(current(), 'prod')
  })
})
