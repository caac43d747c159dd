/** A stranger's cluster.yaml names commands and files of this machine: a plan of phases without nodes touches none. */
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../support/files.ts'
import { exits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

test('a plan of phases without nodes runs and reads nothing that cluster.yaml names; one with nodes does', {
  skip: needs('ssh'),
}, async (t) => {
  const place = scratch(t)
  const ran = join(place, 'was-run')
  writeFileSync(join(place, 'kubeconfig'), 'clusters: [')
  writeFileSync(join(place, 'ssh_config'), `Match exec "touch ${ran}"\nHost *\n  ProxyCommand touch ${ran}\n`)
  writeCluster(place, [
    ...oneOfEach,
    [['ssh', 'configFile'], './ssh_config'],
    [['localKubeconfig', 'path'], './kubeconfig'],
    [['install'], { sudo: `touch ${ran};` }],
  ])
  await exits(4, place, 'plan', 'certs', 'kubeconfigs', 'encryption-key')
  assert.ok(!existsSync(join(place, 'auth')))
  await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
  await exits(0, place, 'plan', 'certs', 'kubeconfigs', 'encryption-key')
  assert.ok(!existsSync(ran))
  await exits(1, place, 'plan', 'deploy')
  assert.ok(existsSync(ran))
})
