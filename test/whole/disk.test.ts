import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { copyPlace, madePlace } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const isRoot = process.getuid?.() === 0 && process.platform === 'linux'
const canMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0
const mounted = { skip: !canMount && 'only root may mount a small disk, or a read-only one' }

const local = ['certs', 'kubeconfigs', 'encryption-key']
const made = madePlace([], ...local)

const contents = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => [
        join(parentPath, name).slice(folder.length + 1),
        readFileSync(join(parentPath, name), 'utf8'),
      ]),
  )

test(
  'on a full disk auth/ keeps all that it held, and the run names the directory in which there is no room',
  mounted,
  async (t) => {
    // cluster.yaml asks for more than there is.
    const { place, auth } = copyPlace(t, made, [[['api', 'extraSANs'], ['192.168.1.22']]])
    const kept = join(place, 'after')
    const before = contents(auth)
    cpSync(auth, join(place, 'old'), { recursive: true, preserveTimestamps: true })
    // Each file takes one page, or more.
    for (const pages of [0, 1, 2, 8]) {
      rmSync(kept, { recursive: true, force: true })
      const fill = `${process.execPath} ${join(import.meta.dirname, '../support/full-disk.ts')} ${auth}/fill ${pages}`
      const run = await start(place, local, {
        through: (command) => [
          ...(['unshare', '-m', 'sh', '-ec'] as const),
          `mount -t tmpfs -o size=400k none ${auth}; cp -a ${place}/old/. ${auth}; ${fill}
set +e\n${command}\nstatus=$?\ncp -a ${auth}/. ${kept}\nexit $status`,
        ],
      }).ended
      assert.equal(run.status, pages === 8 ? 0 : 1, `with ${pages} pages`)
      assert.doesNotMatch(run.stdout + run.stderr, /^\s+at .*:\d+|a mistake in harderway/m)
      rmSync(join(kept, 'fill'), { force: true })
      // What is overwritten while it is valid is kept first.
      const after = Object.fromEntries(Object.entries(contents(kept)).filter(([name]) => !name.startsWith('backup')))
      assert.deepEqual(Object.keys(after).toSorted(), Object.keys(before).toSorted(), `with ${pages} pages`)
      if (run.status === 0) continue
      assert.match(run.stdout + run.stderr, new RegExp(`${auth}\\S*: no space`))
      assert.deepEqual(after, before, `with ${pages} pages`)
    }
  },
)

test("a full or read-only disk on a node is reported with the node's name, its files stay, and the next run with room completes", {
  skip: mounted.skip || needs('sshd', 'ssh', 'scp'),
}, () => {
  const program = join(import.meta.dirname, '../support/full-node.ts')
  const run = spawnSync('unshare', ['-m', process.execPath, program], { encoding: 'utf8' })
  assert.equal(run.status, 0, run.stdout + run.stderr)
  const tries = run.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const failed = tries.filter(({ status }) => status !== 0)
  assert.ok(failed.length >= 3 && failed.length < tries.length && failed.at(-1)?.pages === 'read-only', run.stdout)
  for (const { pages, ...said } of failed) {
    assert.deepEqual([said.status, said.id], [1, 'deploy/control0'], `with ${pages} pages`)
    assert.match(said.message, /^control0: (couldn.t replace a file; .*No space left|scp: )/)
  }
})
