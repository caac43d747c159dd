/** What harderway is made of: nothing is taken by a name alone that somebody else can move. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('every dependency has its hash in the lock file, and none runs a script when it is installed', () => {
  const { packages }: { packages: Record<string, { integrity?: string; hasInstallScript?: boolean }> } = JSON.parse(
    read('package-lock.json'),
  )
  const dependencies = Object.entries(packages).filter(([path]) => path !== '')
  assert.ok(dependencies.length > 100)
  for (const [path, { integrity = '', hasInstallScript = false }] of dependencies) {
    assert.match(integrity, /^sha512-/, path)
    assert.equal(hasInstallScript, false, path)
  }
})

for (const path of ['.github/workflows/test.yaml', 'docs/ci-workflow.yaml'])
  test(`${path} names each action by its commit, with the version beside it`, () => {
    const actions = [...read(path).matchAll(/uses: (.*)/g)].map(([, action = '']) => action)
    assert.ok(actions.length > 2)
    for (const action of actions) assert.match(action, /^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })
