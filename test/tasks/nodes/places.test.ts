import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Run } from '../../../lib/graph/run.ts'
import { runCommand } from '../../../tasks/nodes/places.ts'

const run = (sudo: string, command: string) => {
  const connection = { run: async (script: string) => execFileSync('sh', ['-s'], { input: script, encoding: 'utf8' }) }
  const at = { connect: async () => connection } as unknown as Run
  return runCommand(at, { name: 'control0' } as ClusterNode, { sudo, command })
}

test("a command's status is what root's shell says", async () => {
  assert.deepEqual(await run('', 'echo fine'), { status: 0, said: 'fine' })
  assert.deepEqual(await run('env', 'echo not >&2; exit 7'), { status: 7, said: 'not' })
})

test('a command of which no status came is no success', async () => {
  for (const sudo of ['false', 'true', 'echo', 'cat >/dev/null; echo status; true'])
    await assert.rejects(run(sudo, 'true'), (error) => error instanceof Failure && error.remedy !== undefined, sudo)
})
