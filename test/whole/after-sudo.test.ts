/** What a run by sudo made belongs to root: the next run of the user says so, and how to take it back. */
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

/** As its user would type it, but that root needs no sudo. */
function obey(text: string): string {
  const [command = assert.fail(text), path = ''] = /sudo chown -R 54321:54321 (\S+)/.exec(text) ?? []
  execFileSync('sh', ['-c', command.replace('sudo ', '')])
  return path
}

for (const args of [['certs'], ['status'], ['local-kubeconfig', '--dry-run']])
  test(`the whole of auth/ is given back by the command that ${args.join(' ')} tells`, { skip }, async (t) => {
    const folder = place(t)
    assert.equal((await harderway(folder, 'certs')).status, 0)
    const refused = await start(folder, args, { by: asUser }).ended
    assert.notEqual(refused.status, 0)
    assert.match(refused.stdout + refused.stderr, /permission denied, \S+\/auth is root's/)
    assert.equal(obey(refused.stdout + refused.stderr), join(folder, 'auth'))
    const again = await start(folder, ['certs'], { by: asUser }).ended
    assert.equal(again.status, 0, again.stderr)
  })

test('of one file of root in a folder of the user the whole folder is given back', { skip }, async (t) => {
  const folder = place(t)
  assert.equal((await start(folder, ['certs'], { by: asUser }).ended).status, 0)
  assert.equal((await harderway(folder, 'node-certs', '--force')).status, 0)
  const refused = await start(folder, ['node-certs'], { by: asUser }).ended
  assert.equal(refused.status, 1)
  const told = refused.stdout + refused.stderr
  assert.match(told, /auth\/worker0-key\.pem: permission denied, it is root's/)
  assert.equal(told.match(/sudo chown/g)?.length, 1, told)
  assert.equal(obey(told), join(folder, 'auth'))
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
  assert.equal(obey(refused.stdout + refused.stderr), join(folder, 'home/config'))
  assert.equal(lstatSync(join(folder, 'home')).uid, user)
  assert.equal((await start(folder, ['local-kubeconfig'], { by: asUser }).ended).status, 0)
})
