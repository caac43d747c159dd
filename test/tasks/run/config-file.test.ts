import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits, oneOfEach, writeCluster } from '../../support/harderway.ts'

test('an ssh.configFile that does not exist is a mistake in cluster.yaml, wherever a node is contacted', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...oneOfEach, [['ssh', 'configFile'], './no-such-file']])
  for (const args of [['deploy'], ['bootstrap', '--dry-run'], ['status', '--on-nodes']]) {
    const { stdout, stderr } = await exits(2, place, ...args)
    assert.equal(stdout, '')
    assert.match(stderr, /^\S+\/cluster\.yaml:\d+:15: ssh\.configFile can't be used: can't read \S+\/no-such-file: /)
  }
})
