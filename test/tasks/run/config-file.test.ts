import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits, harderway, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

test('an ssh.configFile that does not exist is a mistake in cluster.yaml, wherever a node is contacted', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './no-such-file']])
  for (const args of [['deploy'], ['bootstrap', '--dry-run'], ['status', '--on-nodes']]) {
    const { stdout, stderr } = await exits(2, place, ...args)
    assert.equal(stdout, '')
    assert.match(stderr, /^\S+\/cluster\.yaml:\d+:15: ssh\.configFile can't be used: can't read \S+\/no-such-file: /)
  }
})

test('where no node is contacted it need not exist', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './no-such-file']])
  await exits(0, place, 'certs', 'kubeconfigs')
  assert.notEqual((await harderway(place, 'status')).status, 2)
})

test('what ssh says of a configuration that it does not understand is reported', { skip: needs('ssh') }, async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './ssh_config']])
  writeFileSync(join(place, 'ssh_config'), 'Host *\n  NoSuchOption yes\n')
  await exits(0, place, 'certs', 'encryption-key')
  const { stdout } = await exits(1, place, 'deploy')
  assert.match(stdout, /ssh_config: terminating, 1 bad configuration options\n[\s\S]*ssh -F \S+ssh_config -v /)
})
