/** docs/json.md: its lines for jq, as they stand there. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { entry, exits, labEdits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const page = readFileSync(join(dirname(entry), '../docs/json.md'), 'utf8')

describe('docs/json.md', { skip: needs('jq', 'ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite

  before(async () => {
    const jane = { name: 'jane', groups: ['devs'], validity: '50d' }
    writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), [['users'], [jane]]])
    await exits(0, place, 'bootstrap')
    mkdirSync(join(place, 'bin'))
    writeFileSync(join(place, 'bin/harderway'), `#!/bin/sh\nexec ${process.execPath} ${entry} "$@"\n`)
    chmodSync(join(place, 'bin/harderway'), 0o755)
  })

  /** What the command under that sentence prints, in the cluster's folder. */
  const answer = async (sentence: string) => {
    const [, command = ''] = page.split(`\n${sentence}\n\n\`\`\`sh\n`)
    assert.notEqual(command, '', sentence)
    const [line = ''] = command.split('\n')
    const env = { PATH: `${join(place, 'bin')}:${process.env.PATH}`, HOME: join(place, 'home') }
    return (await promisify(execFile)('/bin/sh', ['-c', line], { cwd: place, env })).stdout
  }

  test('has a line for what expires within 60 days', async () => {
    const end = '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ'
    assert.match(
      await answer('What expires within 60 days:'),
      new RegExp(`^${end} user-certs/jane\n${end} kubeconfigs/jane\n$`),
    )
  })

  test('has a line for the nodes that are behind', async () => {
    const behind = () => answer('Which nodes are behind, and why:')
    assert.equal(await behind(), '')
    rmSync(join(suite.lab.node('worker0').home, 'kube-proxy.kubeconfig'))
    assert.equal(await behind(), 'worker0: kube-proxy.kubeconfig missing\n')
  })

  test('has a line for whether a run changed anything', async () => {
    const changed = () => answer('Did the run change anything? `true` or `false`:')
    assert.equal(await changed(), 'true\n')
    assert.equal(await changed(), 'false\n')
  })

  test('has a line for the mistakes in cluster.yaml', async () => {
    appendFileSync(join(place, 'cluster.yaml'), 'nodez: []\n')
    const lines = readFileSync(join(place, 'cluster.yaml'), 'utf8').split('\n').length - 1
    assert.equal(
      await answer('The mistakes in `cluster.yaml`, as compilers print them:'),
      `${join(place, 'cluster.yaml')}:${lines}:1: nodez is an unknown key in cluster.yaml\n`,
    )
  })
})
