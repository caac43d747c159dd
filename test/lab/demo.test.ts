import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { scratch } from '../support/files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('before npm ci, npm is what is named, whichever Node there is', (t) => {
  const script = join(root, 'test/lab/node.sh')
  const { status, stdout, stderr } = spawnSync('sh', [script], { cwd: scratch(t), encoding: 'utf8' })
  assert.deepEqual([status, stdout, stderr], [1, '', 'first, once: npm ci\n'])
})

test('README.md names the packages that the demo may install', () => {
  const [script, setup, readme] = ['test/lab/node.sh', 'test/lab/setup.ts', 'README.md'].map((path) =>
    readFileSync(join(root, path), 'utf8'),
  )
  const [, ofNode = ''] = /apt-get -qy install --no-install-recommends (\S+)/.exec(script ?? '') ?? []
  const [, demo = ''] = /^const demo.*?= \[(.*?)^\]/ms.exec(setup ?? '') ?? []
  const packages = [ofNode, ...[...demo.matchAll(/debian: '(\S+)'/g)].map(([, name = '']) => name)]
  assert.equal(packages.length, 3)
  for (const name of packages) assert.ok(readme?.includes(`\`${name}\``), name)
})
