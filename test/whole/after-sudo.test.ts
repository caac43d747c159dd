/** What a run by sudo made belongs to root: the next run of the user says how to see it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { scratch } from '../support/files.ts'
import { exits, withStatus, writeCluster } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import { another, asAnother, needsAnother } from '../support/programs.ts'

const skip = needsAnother()

function place(t: TestContext): string {
  const folder = scratch(t)
  mkdirSync(join(folder, 'home'))
  writeCluster(folder)
  for (const path of [folder, join(folder, 'home'), join(folder, 'cluster.yaml')]) chownSync(path, another, another)
  return folder
}

/** The commands that show whose a path is; they are carried out. */
function shownOwners(text: string): string[] {
  const found = [...text.matchAll(/check the owner:\s+(ls -ld .*)$/gm)].map(([, command = '']) => command)
  return found.map((command) => execFileSync('sh', ['-c', command], { encoding: 'utf8' }))
}

test('an auth/ of root is refused, with the command that shows it', { skip }, async (t) => {
  const folder = place(t)
  await exits(0, folder, 'certs')
  for (const args of [['certs'], ['status'], ['local-kubeconfig', '--dry-run']]) {
    const refused = await start(folder, args, { by: asAnother }).ended
    assert.notEqual(refused.status, 0)
    const told = refused.stdout + refused.stderr
    assert.match(told, /permission denied/)
    assert.match(told, /if a run with sudo created it, chown it to its user/)
    assert.match(shownOwners(told).join(''), /^d\S+ +\d+ root .*\/auth$/m)
  }
  execFileSync('chown', ['-R', `${another}:${another}`, join(folder, 'auth')])
  await withStatus(0, start(folder, ['certs'], { by: asAnother }).ended)
})
