/** Every set of files of a rotation has a meaning, or is none for a reason that names a file. */
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { before, describe, test } from 'node:test'
import { readCertificate } from '../../../lib/pki/certificate.ts'
import { readPrivateKey, validityPeriod } from '../../../lib/pki/pair.ts'
import { generatePrivateKey, issueCertificate, privateKeyPem, selfSign } from '../../../lib/pki/x509.ts'
import { caState, tokenState } from '../../../tasks/auth/states.ts'
import { isPreviousCa } from '../../../tasks/deploy/owner.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { caProfile, leafProfile, now, year } from '../../support/certificates.ts'

type Files = Readonly<Record<string, Buffer>>

/** Each list of choices, one of each. */
function product(choices: Readonly<Record<string, readonly string[]>>): Record<string, string>[] {
  return Object.entries(choices).reduce<Record<string, string>[]>(
    (all, [file, kinds]) => all.flatMap((each) => kinds.map((kind) => ({ ...each, [file]: kind }))),
    [{}],
  )
}

const read = (files: Files) => ({ files: harderWay.files, tryBytes: (file: string) => files[file] })

describe('of a CA', () => {
  const made: Record<string, Buffer> = {}
  const period = validityPeriod(now, year)
  const filesOf = (kinds: Readonly<Record<string, string>>): Files =>
    Object.fromEntries(
      Object.entries(kinds).flatMap(([file, kind]) => {
        const bytes = kind === 'absent' ? undefined : made[kind]
        return bytes ? [[file, bytes]] : []
      }),
    )

  before(async () => {
    made.junk = Buffer.from('junk')
    for (const name of ['old', 'new', 'other']) {
      const key = await generatePrivateKey('ecdsa-p256')
      const CN = { old: 'Kubernetes', new: 'Kubernetes 2', other: 'Kubernetes 3' }[name] ?? ''
      const profile = { ...caProfile, subject: { ...caProfile.subject, CN } }
      made[`${name}-key`] = Buffer.from(privateKeyPem(key))
      made[name] = Buffer.from(selfSign({ profile, ...period }, key))
    }
    const [privateKey, certificate] = [readPrivateKey(made['old-key'] ?? ''), readCertificate(made.old ?? '')]
    assert.ok(privateKey && certificate)
    for (const name of ['new', 'other']) {
      const key = readPrivateKey(made[`${name}-key`] ?? '')
      assert.ok(key)
      const subject = { ...caProfile.subject, CN: name === 'new' ? 'Kubernetes 2' : 'Kubernetes 3' }
      const profile = { ...caProfile, subject }
      const cross = issueCertificate(
        { profile, publicKey: createPublicKey(key), ...period },
        { certificate, privateKey },
      )
      made[`cross-${name}`] = Buffer.from(cross)
    }
  })

  const all = product({
    'ca.pem': ['absent', 'old', 'new', 'junk'],
    'ca-key.pem': ['absent', 'old-key', 'new-key', 'junk'],
    'ca-next-key.pem': ['absent', 'new-key', 'other-key', 'junk'],
    'ca-next.pem': ['absent', 'new', 'other', 'junk'],
    'ca-cross.pem': ['absent', 'cross-new', 'cross-other', 'junk'],
  })

  test(`each of ${all.length} sets`, () => {
    const counts = new Map<string, number>()
    for (const kinds of all) {
      const rotation = caState(read(filesOf(kinds)), now)
      const words = JSON.stringify(kinds)
      counts.set(rotation.stage, (counts.get(rotation.stage) ?? 0) + 1)
      const [present, next, nextKey, cross] = ['ca.pem', 'ca-next.pem', 'ca-next-key.pem', 'ca-cross.pem'].map(
        (file) => kinds[file],
      )
      if (rotation.stage === 'unclear') {
        assert.match(rotation.why, /^ca-(next|next-key|cross)\.pem (is|has|does) /, words)
        continue
      }
      // Whoever signs has a key; a chain is of who signs; what is trusted is there, or made of a key that is.
      if (rotation.stage === 'both') {
        assert.deepEqual([rotation.issuer, rotation.trusted], ['ca-next', ['ca-next', 'ca']], words)
        assert.ok(nextKey === 'new-key' || nextKey === 'other-key', words)
        assert.notEqual(`${present}-key`, nextKey, words)
        assert.ok(next === 'absent' || `${next}-key` === nextKey, words)
        if (rotation.chain) assert.equal(cross, `cross-${next}`, words)
      } else {
        assert.deepEqual([rotation.issuer, rotation.trusted], ['ca', ['ca']], words)
        if (rotation.chain) assert.equal(cross, `cross-${present}`, words)
        if (rotation.stage === 'finishing') assert.ok([`${present}-key`, nextKey].includes('new-key'), words)
        else assert.deepEqual([next, nextKey], ['absent', 'absent'], words)
      }
    }
    assert.deepEqual([...counts.keys()].toSorted(), ['both', 'finishing', 'settled', 'unclear'])
  })

  test('an expired chain is not desired', () => {
    const files = filesOf({ 'ca.pem': 'new', 'ca-cross.pem': 'cross-new' })
    const rotation = caState(read(files), new Date(now.getTime() + 2 * year))
    assert.deepEqual(rotation, { stage: 'settled', issuer: 'ca', chain: undefined, trusted: ['ca'] })
  })

  test('only the CA that signed the cross certificate counts as the previous one', () => {
    const keyOf = (name: string) => createPublicKey(made[`${name}-key`] ?? '')
    const files = read(filesOf({ 'ca.pem': 'new', 'ca-cross.pem': 'cross-new' }))
    assert.deepEqual(
      ['old', 'new', 'other'].map((name) => isPreviousCa(keyOf(name), files)),
      [true, false, false],
    )
    const foreign = read(filesOf({ 'ca.pem': 'new', 'ca-cross.pem': 'cross-other' }))
    assert.equal(isPreviousCa(keyOf('old'), foreign), false)
  })
})

describe('of the key that signs tokens', () => {
  const made: Record<string, Buffer> = {}
  const keys: Record<string, ReturnType<typeof createPublicKey>> = {}

  before(async () => {
    made.junk = Buffer.from('junk')
    for (const name of ['a', 'b', 'c']) {
      const key = await generatePrivateKey('ecdsa-p256')
      made[`${name}-key`] = Buffer.from(privateKeyPem(key))
      made[name] = Buffer.from(selfSign({ profile: leafProfile(), ...validityPeriod(now, year) }, key))
      keys[name] = createPublicKey(key)
    }
  })

  const certificates = ['', 'a', 'b', 'a b', 'b a', 'a b c', 'c b', 'junk']
  const all = product({ key: ['', 'a', 'b', 'junk'], next: ['', 'a', 'b', 'junk'], certificates })

  test(`each of ${all.length} sets`, () => {
    for (const { key = '', next = '', certificates = '' } of all) {
      const bytes = (name: string) => (name === 'junk' ? made.junk : made[`${name}-key`])
      const pems =
        certificates === ''
          ? undefined
          : Buffer.concat(certificates.split(' ').map((name) => made[name] ?? Buffer.alloc(0)))
      const files = {
        'service-account-key.pem': bytes(key),
        'service-account-next-key.pem': bytes(next),
        'service-account.pem': pems,
      }
      const rotation = tokenState({ files: harderWay.files, tryBytes: (file) => files[file as keyof typeof files] })
      const words = JSON.stringify({ key, next, certificates })
      const held = certificates.split(' ').filter((name) => keys[name])
      if (next === 'junk') assert.equal(rotation.stage, 'unclear', words)
      else {
        assert.notEqual(rotation.stage, 'unclear', words)
        if (rotation.stage === 'unclear') continue
        const others = rotation.others.map((each) => Object.keys(keys).find((name) => keys[name]?.equals(each)))
        const isPair = keys[key] !== undefined && (held.length === 0 || held.includes(key))
        // Nothing that is accepted is dropped, and what comes is among it.
        const asked = new Set([...held, ...(next && next !== key ? [next] : [])])
        asked.delete(key)
        assert.deepEqual(others.toSorted(), isPair ? [...asked].toSorted() : [], words)
        const stage = !isPair
          ? 'settled'
          : next !== '' && next !== key
            ? 'published'
            : asked.size > 0 || next === key
              ? 'signing'
              : 'settled'
        assert.equal(rotation.stage, stage, words)
      }
    }
  })
})
