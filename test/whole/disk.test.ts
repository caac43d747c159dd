import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { copyPlace, exits, madePlace, type Ran, withStatus } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const isRoot = process.getuid?.() === 0 && process.platform === 'linux'
const canMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0
const mounted = { skip: !canMount && 'only root may mount a small disk, or a read-only one' }

const local = ['certs', 'kubeconfigs', 'encryption-key']

const made = madePlace([], ...local)

/** With everything local made, and a cluster.yaml that asks for more since then. */
function makeFolder(t: TestContext) {
  const path = copyPlace(t, made, [[['api', 'extraSANs'], ['192.168.1.22']]]).place
  return { path, auth: join(path, 'auth') }
}
type Folder = ReturnType<typeof makeFolder>

const contents = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => [
        join(parentPath, name).slice(folder.length + 1),
        readFileSync(join(parentPath, name), 'utf8'),
      ]),
  )

function assertNoTrace({ stdout, stderr }: Pick<Ran, 'stdout' | 'stderr'>): void {
  assert.doesNotMatch(stdout + stderr, /^\s+at .*:\d+|a mistake in harderway/m)
}

/** In a mount namespace of its own, where these commands make auth/ a disk first; also what that holds then. */
async function runOnDisk({ path, auth }: Folder, prepare: string, args: readonly string[]) {
  const [after, old] = [join(path, 'after'), join(path, 'old')]
  for (const each of [after, old]) rmSync(each, { recursive: true, force: true })
  cpSync(auth, old, { recursive: true, preserveTimestamps: true })
  const run = await start(path, args, {
    through: (command) => [
      ...(['unshare', '-m', 'sh', '-ec'] as const),
      `${prepare}\nset +e\n${command}\nstatus=$?\ncp -a ${auth}/. ${after}\nexit $status`,
    ],
  }).ended
  rmSync(join(after, 'fill'), { force: true })
  return { ...run, before: contents(old), after: contents(after) }
}

/** A disk on which so many pages are free: each file takes one, or more. */
const smallDisk = ({ path, auth }: Folder, pages: number) =>
  `mount -t tmpfs -o size=400k none ${auth}
cp -a ${join(path, 'old')}/. ${auth}
${process.execPath} ${join(import.meta.dirname, '../support/full-disk.ts')} ${auth}/fill ${pages}`

test(
  'on a full disk auth/ keeps all that it held, and the run names the directory in which there is no room',
  mounted,
  async (t) => {
    const folder = makeFolder(t)
    const statuses = []
    for (const pages of [0, 1, 2, 8]) {
      const run = await runOnDisk(folder, smallDisk(folder, pages), local)
      statuses.push(run.status)
      assertNoTrace(run)
      // What is overwritten while it is valid is kept first.
      const after = Object.fromEntries(Object.entries(run.after).filter(([name]) => !name.startsWith('backup')))
      assert.deepEqual(Object.keys(after).toSorted(), Object.keys(run.before).toSorted(), `with ${pages} pages`)
      if (run.status === 0) continue
      assert.match(run.stdout + run.stderr, new RegExp(`${folder.auth}\\S*: no space`))
      assert.deepEqual(after, run.before, `with ${pages} pages`)
    }
    assert.deepEqual(statuses, [1, 1, 1, 0])
  },
)

test('on a full disk no CA is left half made, and the next run makes it', mounted, async (t) => {
  const folder = makeFolder(t)
  rmSync(folder.auth, { recursive: true })
  mkdirSync(folder.auth, { mode: 0o700 })
  for (const [pages, left] of [[], [], ['.gitignore'], ['.gitignore', 'ca-key.pem']].entries()) {
    const run = await runOnDisk(folder, smallDisk(folder, pages), ['ca'])
    assertNoTrace(run)
    assert.equal(run.status, 1)
    assert.match(run.stdout + run.stderr, new RegExp(`${folder.auth}: no space`))
    assert.deepEqual(Object.keys(run.after), left, `with ${pages} pages`)
    rmSync(folder.auth, { recursive: true })
    cpSync(join(folder.path, 'after'), folder.auth, { recursive: true, preserveTimestamps: true })
    await exits(0, folder.path, 'ca')
    if (left.includes('ca-key.pem'))
      assert.equal(readFileSync(join(folder.auth, 'ca-key.pem'), 'utf8'), run.after['ca-key.pem'])
    for (const name of readdirSync(folder.auth)) rmSync(join(folder.auth, name))
  }
})

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

test('a read-only auth/ is named, exits with 1, and keeps what it holds', mounted, async (t) => {
  const folder = makeFolder(t)
  const prepare = `mount --bind ${folder.auth} ${folder.auth}\nmount -o remount,bind,ro ${folder.auth}`
  const run = await withStatus(1, runOnDisk(folder, prepare, ['cluster-cert']))
  assertNoTrace(run)
  assert.match(run.stdout + run.stderr, new RegExp(`${folder.auth}\\S*: .*read-only`))
  assert.deepEqual(run.after, run.before)
})
