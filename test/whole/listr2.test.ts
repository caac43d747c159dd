/** listr2 runs the phases: without it nothing happens, whatever is printed. */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { scratch } from '../support/files.ts'
import { oneOfEach, writeCluster } from '../support/harderway.ts'
import { start } from '../support/process.ts'

const idle = new URL('./idle-listr2.ts', import.meta.url).href

for (const [how, ...args] of [['in text'], ['with --json', '--json'], ['with --quiet', '--quiet']] as const)
  test(`where listr2 runs nothing, nothing is made, planned or seen, and that is a failure: ${how}`, async (t) => {
    const folder = scratch(t)
    writeCluster(folder, oneOfEach)
    for (const command of [['certs', 'encryption-key'], ['certs', '--dry-run'], ['status'], ['verify']]) {
      const ran = await start(folder, [...command, ...args], { env: { NODE_OPTIONS: `--import=${idle}` } }).ended
      assert.equal(ran.status, 1, ran.stdout + ran.stderr)
      assert.match(ran.stdout + ran.stderr, / was not started/)
      assert.deepEqual(
        globSync('auth/**', { cwd: folder }).filter((path) => /\.(pem|yaml|kubeconfig)$/.test(path)),
        [],
      )
    }
  })
