/** Format, lint, unused code and types: beside the other tests, not before them. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

for (const script of ['lint', 'typecheck'])
  test(`npm run ${script} finds nothing`, () => {
    const { status, stdout, stderr } = spawnSync('npm', ['run', '--silent', script], {
      cwd: new URL('../../', import.meta.url),
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
    })
    assert.equal(status, 0, stdout + stderr)
  })
