/** What a run by sudo made belongs to root: the next run of the user says whose it is, and how to take it back. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, lstatSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Edit, harderway, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/parts.ts'
import { start } from '../support/process.ts'
import { scratch } from '../support/scratch.ts'

const skip = needs('setpriv') || (process.getuid?.() !== 0 && 'only root can make what is root’s')
const user = 54321
const asUser = ['setpriv', '--reuid', String(user), '--regid', String(user), '--clear-groups']
const quickKeys: Edit = [['certificates', 'key'], 'ecdsa-p256']

function place(t: TestContext): string {
  const folder = scratch(t)
  mkdirSync(join(folder, 'home'))
  writeCluster(folder, [quickKeys])
  for (const path of [folder, join(folder, 'home'), join(folder, 'cluster.yaml')]) chownSync(path, user, user)
  return folder
}

/** As its user would type them, but that root needs no sudo. */
function obey(text: string): string[] {
  const found = [...text.matchAll(/sudo (chown -R 54321:54321 (\S+))/g)]
  for (const [, command = ''] of found) execFileSync('sh', ['-c', command])
  return found.map(([, , path = '']) => path)
}

for (const args of [['certs'], ['status'], ['local-kubeconfig', '--dry-run']])
  test(`the whole of auth/ is given back by the command that ${args.join(' ')} tells`, { skip }, async (t) => {
    const folder = place(t)
    assert.equal((await harderway(folder, 'certs')).status, 0)
    const refused = await start(folder, args, { by: asUser }).ended
    assert.notEqual(refused.status, 0)
    assert.match(refused.stdout + refused.stderr, /permission denied, \S+\/auth is root's/)
    assert.deepEqual([...new Set(obey(refused.stdout + refused.stderr))], [join(folder, 'auth')])
    const again = await start(folder, ['certs'], { by: asUser }).ended
    assert.equal(again.status, 0, again.stderr)
  })

test('single files of root in a folder of the user are given back by the commands that a run tells', {
  skip,
}, async (t) => {
  const folder = place(t)
  assert.equal((await start(folder, ['certs'], { by: asUser }).ended).status, 0)
  assert.equal((await harderway(folder, 'node-certs', '--force')).status, 0)
  const refused = await start(folder, ['node-certs'], { by: asUser }).ended
  assert.equal(refused.status, 1)
  const told = refused.stdout + refused.stderr
  assert.match(told, /auth\/worker0-key\.pem: permission denied, it is root's/)
  assert.ok(obey(told).includes(join(folder, 'auth/worker0-key.pem')), told)
  assert.equal((await start(folder, ['node-certs'], { by: asUser }).ended).status, 0)
})

test('a home is not given back for one file in it', { skip }, async (t) => {
  const folder = place(t)
  writeCluster(folder, [quickKeys, [['localKubeconfig', 'path'], '~/config']])
  assert.equal((await harderway(folder, 'local-kubeconfig')).status, 0)
  execFileSync('chown', ['-R', `${user}:${user}`, join(folder, 'auth')])
  rmSync(join(folder, 'auth/.lock'), { force: true })
  const refused = await start(folder, ['local-kubeconfig'], { by: asUser }).ended
  assert.notEqual(refused.status, 0)
  assert.deepEqual(obey(refused.stdout + refused.stderr), [join(folder, 'home/config')])
  assert.equal(lstatSync(join(folder, 'home')).uid, user)
  assert.equal((await start(folder, ['local-kubeconfig'], { by: asUser }).ended).status, 0)
})

test('a folder that is not in one of the user is not given to them: it is said whose it is alone', {
  skip,
}, async (t) => {
  const folder = scratch(t)
  chownSync(folder, 0, 0)
  const refused = await start(folder, ['init', 'new', '--control', 'c=10.0.0.1'], { by: asUser }).ended
  assert.equal(refused.status, 2)
  assert.match(refused.stderr, /permission denied, .* is root's$/m)
  assert.doesNotMatch(refused.stderr, /chown/)
})
