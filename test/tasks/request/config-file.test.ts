import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits, harderway, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

test('an ssh.configFile that does not exist is a mistake in cluster.yaml, wherever a node is contacted', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './no-such-file']])
  for (const args of [['deploy'], ['bootstrap'], ['bootstrap', '--dry-run'], ['status', '--on-nodes']]) {
    const { status, stdout, stderr } = await harderway(place, ...args)
    assert.equal(status, 2, args.join(' '))
    assert.equal(stdout, '')
    assert.match(stderr, /^\S+\/cluster\.yaml:\d+:15: ssh\.configFile can't be used: can't read \S+\/no-such-file: /)
  }
  const json = await exits(2, place, 'deploy', '--json')
  assert.match(String(json.events[0]?.message), /ssh\.configFile/)
})

test('and so is a folder, which ssh would take for an empty file', async (t) => {
  const place = scratch(t)
  mkdirSync(join(place, 'folder'))
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './folder']])
  const { stderr } = await exits(2, place, 'deploy')
  assert.match(stderr, /:15: ssh\.configFile is a folder: /)
})

test('where no node is contacted it need not exist', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './no-such-file']])
  await exits(0, place, 'certs', 'kubeconfigs')
  assert.notEqual((await harderway(place, 'status')).status, 2)
})

test('what ssh says of a configuration that it does not understand is reported once for all nodes', {
  skip: needs('ssh'),
}, async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './ssh_config']])
  writeFileSync(join(place, 'ssh_config'), 'Host *\n  NoSuchOption yes\n')
  await exits(0, place, 'certs', 'encryption-key')
  const { stdout, stderr } = await exits(1, place, 'deploy', '--quiet')
  const said = stdout + stderr
  assert.match(said, /^3 nodes, ssh can't be used \(\S+ssh_config: line 2: Bad configuration option: nosuchoption\): /m)
  assert.equal(said.match(/NoSuchOption/gi)?.length, 1, said)
})
