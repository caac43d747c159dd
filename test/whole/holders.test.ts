/** Who may still be let in by a certificate that cluster.yaml would not issue now: said in plan, status and metrics. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  copyPlace,
  type Edit,
  exits,
  harderway,
  madePlace,
  oneOfEach,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'

const base: Edit[] = [...oneOfEach, [['etcd'], { ca: 'own' }], [['install'], true]]
const users = (...names: string[]): Edit => [['users'], names.map((name) => ({ name, groups: ['devs'] }))]
const revoked = (...entries: string[]): Edit => [['revoked'], entries]
const made = madePlace([...base, users('jane', 'joe')], 'certs', 'kubeconfigs', 'encryption-key')

function copy(t: TestContext) {
  const { place, auth } = copyPlace(t, made, [...base, users('jane', 'joe')])
  return { place, auth, write: (...edits: Edit[]) => writeCluster(place, [...base, ...edits]) }
}

/** What status and a plan say of certificates that let somebody in, both the same. */
async function told(place: string): Promise<string> {
  const notesIn = ({ events }: Ran) =>
    events.flatMap(({ type, message }) =>
      type === 'note' && / accepted|let in/.test(String(message)) ? [String(message)] : [],
    )
  const status = notesIn(await harderway(place, 'status', '--json'))
  assert.deepEqual(notesIn(await harderway(place, 'plan', 'certs', '--json')), status)
  return status.join('\n')
}

test('who left is named, with the line to paste, until the name is revoked; and a name that comes back after --prune has a new key', async (t) => {
  const { place, auth, write } = copy(t)
  const key = readFileSync(join(auth, 'jane-key.pem'))
  write(users('joe'))
  const first = await told(place)
  assert.match(
    first,
    /^may still be let in: jane \(until \d{4}-\d\d-\d\d; removed\) .*; to revoke who is gone, write in cluster\.yaml:\n {4}revoked: \[jane\]$/,
  )
  for (const args of [['certs'], ['certs', '--prune']]) {
    const { stdout } = await exits(args.length > 1 ? 4 : 0, place, ...args, '--dry-run')
    assert.match(
      stdout.replaceAll(/\s+/g, ' '),
      /jane-key\.pem, jane\.kubeconfig, jane\.pem(, of names.*--prune| to auth\/backup)/,
    )
    await exits(0, place, ...args)
    assert.equal(existsSync(join(auth, 'jane-key.pem')), args.length === 1)
    assert.deepEqual(await told(place), first)
  }
  write(users('joe'), revoked('jane'))
  assert.deepEqual(await told(place), '')
  write(users('jane', 'joe'))
  await exits(0, place, 'certs')
  assert.notDeepEqual(readFileSync(join(auth, 'jane-key.pem')), key)
  assert.match(await told(place), /^may still be let in: jane \(until [^;]+; replaced\)/)
})

test('a move that was interrupted is finished: no key of the old name is left to be used again', async (t) => {
  const { place, auth, write } = copy(t)
  write(users('joe'))
  const key = readFileSync(join(auth, 'jane-key.pem'))
  for (const file of ['jane-key.pem', 'jane.kubeconfig']) {
    rmSync(join(auth, file))
    cpSync(auth, join(place, 'killed'), { recursive: true })
    await exits(0, place, 'certs', '--prune')
    assert.deepEqual(
      readdirSync(auth).filter((name) => name.startsWith('jane')),
      [],
    )
    rmSync(auth, { recursive: true })
    renameSync(join(place, 'killed'), auth)
  }
  await exits(0, place, 'certs', '--prune')
  write(users('jane', 'joe'))
  await exits(0, place, 'certs')
  assert.notDeepEqual(readFileSync(join(auth, 'jane-key.pem')), key)
})
