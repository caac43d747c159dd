/** Looks while another run holds auth/, or begins to: what they show is what stands between two runs. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, holdAuth, madePlace, writeCluster } from '../../support/harderway.ts'
import { needsModes, obeysModes, start } from '../../support/process.ts'

const local = ['certs', 'kubeconfigs', 'encryption-key']
const looks = [['status'], ['verify'], [...local, '--dry-run']]
const edits: readonly Edit[] = [
  [
    ['nodes'],
    [
      { name: 'control0', role: 'control', ip: '192.168.1.11' },
      ...Array.from({ length: 19 }, (_, i) => ({ name: `worker${i}`, role: 'worker', ip: `192.168.2.${i}` })),
    ],
  ],
]

const lockOf = (auth: string) => join(auth, '.lock')
/** As a run leaves it that was killed. */
async function leaveLock(place: string): Promise<void> {
  const kubectlLock = join(place, 'home/.kube/config.lock')
  mkdirSync(join(place, 'home/.kube'), { recursive: true })
  writeFileSync(kubectlLock, '')
  const killed = start(place, ['local-kubeconfig', '--json'])
  await killed.told('"type":"building","id":"local-kubeconfig"')
  killed.child.kill('SIGKILL')
  await killed.ended
  rmSync(kubectlLock)
}

describe('a look', { concurrency: 2 }, () => {
  const origin = madePlace(edits, ...local)
  const copied = (t: TestContext) => copyPlace(t, origin, edits)

  for (const args of looks)
    test(`${args.join(' ')} waits for the run that holds auth/, and says for whom`, async (t) => {
      const { place, auth } = copied(t)
      const release = await holdAuth(auth)
      rmSync(join(auth, 'worker0.pem'))
      const waiting = start(place, args)
      await waiting.told(`waiting for process ${process.pid}`)
      writeFileSync(join(auth, 'worker0.pem'), 'of the run that is still going on')
      release()
      const { status, stdout, stderr } = await waiting.ended
      assert.equal(status, args[0] === 'verify' ? 1 : 4, stdout + stderr)
      assert.match(stderr, /^waiting for process .*:\n +ps .*\nstop:\n +kill \d+\n$/)
      assert.ok(stderr.includes(lockOf(auth)), stderr)
    })

  test('is ended by a signal while it waits, without a word more', async (t) => {
    const { place, auth } = copied(t)
    await holdAuth(auth)
    const waiting = start(place, ['status'])
    await waiting.told('waiting for process')
    waiting.child.kill('SIGTERM')
    const ended = await waiting.ended
    assert.deepEqual([ended.status, ended.stdout], [143, ''])
    assert.match(ended.stderr, /^waiting for process .*:\n +ps .*\nstop:\n +kill \d+\n$/)
  })

  test('needs no leave to write in auth/, though a killed run has left its lock there', {
    skip: needsModes(),
  }, async (t) => {
    const { place, auth } = copied(t)
    await leaveLock(place)
    writeCluster(place, [...edits, [['localKubeconfig'], false]])
    chmodSync(auth, 0o500)
    const state = stateOf(auth)
    const ran = await start(place, ['status'], { by: obeysModes }).ended
    chmodSync(auth, 0o700)
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    assert.deepEqual(stateOf(auth), state)
  })
})
