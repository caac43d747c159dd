import assert from 'node:assert/strict'
import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { AuthDir } from '../../../lib/files/auth-dir.ts'
import { checkPair, makePair, readIssuer, readPair, tryCertificate, validityPeriod } from '../../../lib/pki/pair.ts'
import { isRepair, namesOf } from '../../../lib/results.ts'
import { caProfile, leafProfile, makeCa, now, temporaryAuth, year } from '../../support/certificates.ts'

const day = year / 365
const after = (days: number) => new Date(now.getTime() + days * day)

/** An auth/ with a CA of ten years and a fresh leaf of one, w0. */
async function freshAuth(t: TestContext, { caValidity = 10 * year, validity = year } = {}): Promise<AuthDir> {
  const auth = temporaryAuth(t)
  await makeCa(auth, caProfile, caValidity)
  await makePair(auth, 'w0', { profile: leafProfile(), issuer: readIssuer(auth), now, validity })
  return auth
}

function judge(auth: AuthDir, { profile = leafProfile(), at = now } = {}) {
  return checkPair(readPair(auth, 'w0'), {
    profile,
    issuer: tryCertificate(auth, 'ca'),
    now: at,
    renewBefore: 30 * day,
  })
}

const reasons = (...judged: Parameters<typeof judge>) => judge(...judged).diffs.map(({ what }) => what)

const path = (auth: AuthDir, name: string) => join(auth.path, name)

test('a pair that was just made is fresh, until its end', async (t) => {
  const auth = await freshAuth(t)
  const until = new Date(now.getTime() - 300_000 + year)
  assert.deepEqual(judge(auth), { diffs: [], until, note: 'renews from 2027-10-25' })
})

const spoiled: Readonly<Record<string, readonly [spoil: (auth: AuthDir) => unknown, ...reasons: string[]]>> = {
  'a missing key': [(auth) => auth.remove('w0-key.pem'), 'w0-key.pem missing'],
  'two files that hold something else': [
    (auth) => {
      auth.write('w0.pem', 'hello', 0o644)
      auth.write('w0-key.pem', '', 0o600)
    },
    ...['w0.pem is not a valid certificate', 'w0-key.pem is not an unencrypted private key'],
  ],
  'the key of another certificate': [
    (auth) => auth.write('w0-key.pem', readFileSync(path(auth, 'ca-key.pem')), 0o600),
    'w0-key.pem is not the key of its certificate',
  ],
  'another CA of the same name': [(auth) => makeCa(auth, caProfile), 'not issued by the current CA'],
  // The plan says that it will be made.
  'no CA yet': [(auth) => auth.remove('ca.pem')],
}
for (const [what, [spoil, ...told]] of Object.entries(spoiled))
  test(`${what}: ${told.join(' and ') || 'nothing is said'}`, async (t) => {
    const auth = await freshAuth(t)
    await spoil(auth)
    assert.deepEqual(reasons(auth), told)
  })

test('a certificate is stale from renewBefore on, and before it is valid', async (t) => {
  const auth = await freshAuth(t)
  const begin = after(335).getTime() - 300_000
  assert.deepEqual(reasons(auth, { at: new Date(begin - 1) }), [])
  assert.deepEqual(reasons(auth, { at: new Date(begin) }), ['expires 2027-11-24'])
  assert.deepEqual(reasons(auth, { at: after(365) }), ['expired 2027-11-24 11:55Z'])
  assert.deepEqual(reasons(auth, { at: after(-1) }), ['not valid before 2026-11-24T11:55Z'])
})

test('a leaf that ends with its CA would not get more by being issued again', async (t) => {
  const auth = await freshAuth(t, { caValidity: year, validity: 10 * year })
  assert.deepEqual(reasons(auth, { at: after(350) }), [])
  assert.deepEqual(reasons(auth, { at: after(366) }), ['expired 2027-11-24 11:55Z'])
})

test('a wrong mode alone is repaired, and nothing is issued again', async (t) => {
  const auth = await freshAuth(t)
  const before = readFileSync(path(auth, 'w0.pem'), 'utf8')
  chmodSync(path(auth, 'w0-key.pem'), 0o644)
  chmodSync(path(auth, 'w0.pem'), 0o600)
  const verdict = judge(auth)
  assert.equal(isRepair(verdict.diffs), true)
  assert.deepEqual(
    verdict.diffs.map(({ what }) => what),
    ['w0.pem has mode 0600, not 0644', 'w0-key.pem has mode 0644, not 0600'],
  )
  for (const name of namesOf(verdict.diffs, 'chmod')) auth.setMode(name, auth.files.mode(name))
  assert.deepEqual(reasons(auth), [])
  assert.equal(readFileSync(path(auth, 'w0.pem'), 'utf8'), before)
})

test('a certificate that is made again has a new key, unless one is kept', async (t) => {
  const auth = await freshAuth(t)
  const signing = { profile: leafProfile(), issuer: readIssuer(auth), now, validity: year }
  const first = readFileSync(path(auth, 'w0-key.pem'), 'utf8')
  await makePair(auth, 'w0', signing)
  assert.notEqual(readFileSync(path(auth, 'w0-key.pem'), 'utf8'), first)
  const { key } = readPair(auth, 'w0')
  const second = readFileSync(path(auth, 'w0-key.pem'), 'utf8')
  await makePair(auth, 'w0', { ...signing, key })
  assert.equal(readFileSync(path(auth, 'w0-key.pem'), 'utf8'), second)
  assert.deepEqual(reasons(auth), [])
})

test('a period begins five minutes ago and ends with its issuer at the latest', async () => {
  const notBefore = new Date('2026-11-24T11:55:00Z')
  assert.deepEqual(validityPeriod(now, day), { notBefore, notAfter: new Date('2026-11-25T11:55:00Z') })
  assert.deepEqual(validityPeriod(now, year, after(7)), { notBefore, notAfter: after(7) })
  assert.deepEqual(validityPeriod(now, day, after(7)), { notBefore, notAfter: new Date('2026-11-25T11:55:00Z') })
})
