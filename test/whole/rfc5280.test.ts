/** Certificates as a linter of RFC 5280 sees them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { scratch } from '../support/files.ts'
import { type Edit, exits, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const run = promisify(execFile)

const dualStack: readonly Edit[] = [
  [['nodes', 0], { name: 'control0', role: 'control', ips: ['192.168.1.11', 'fd00:1::11'] }],
  [['nodes', 3], { name: 'worker0', role: 'worker', ip: 'fd00:1::14', sans: ['2001:db8::1', 'worker-zero'] }],
  [
    ['network', 'serviceCIDR'],
    ['10.32.0.0/16', 'fd00:2::/108'],
  ],
  [
    ['api', 'extraSANs'],
    ['::1', '*.kubenet'],
  ],
]
const foreignWords: readonly Edit[] = [
  [['subject', 'state'], 'Małopolskie'],
  [['subject', 'locality'], 'Kraków'],
  [['subject', 'organization'], 'Żółw & Syn_y @ 東京'],
  [['subject', 'organizationalUnit'], 'Ünïcode 🐢'],
]
const ecdsa = (curve: string): Edit => [['certificates', 'key'], `ecdsa-${curve}`]
const linted: Readonly<Record<string, readonly Edit[]>> = {
  "the guide's cluster with RSA": [],
  "the guide's cluster with ECDSA on P-256": [ecdsa('p256')],
  'ECDSA on P-384, IPv6, and a subject beyond ASCII': [ecdsa('p384'), ...dualStack, ...foreignWords],
  'RSA, IPv6, and a subject beyond ASCII': [...dualStack, ...foreignWords],
  'a validity past 2050': [[['certificates'], { key: 'ecdsa-p256', validity: '30y', caValidity: '30y' }]],
}

describe('no certificate breaks a rule of RFC 5280', { skip: needs('zlint') }, () => {
  for (const [title, edits] of Object.entries(linted))
    test(title, async (t) => {
      const place = scratch(t)
      writeCluster(place, edits)
      await exits(0, place, 'certs')
      const auth = join(place, 'auth')
      const files = readdirSync(auth).filter((name) => name.endsWith('.pem') && !name.endsWith('-key.pem'))
      assert.equal(files.length, 13)
      const { stdout } = await run('zlint', ['-includeSources', 'RFC5280', ...files.map((name) => join(auth, name))])
      const verdicts: Record<string, { result: string }>[] = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      assert.equal(verdicts.length, files.length)
      for (const [i, verdict] of verdicts.entries()) {
        const file = files[i] ?? ''
        const { validFromDate, validToDate } = new X509Certificate(readFileSync(join(auth, file)))
        assert.ok(validFromDate < validToDate, file)
        const results = Object.entries(verdict)
        assert.ok(results.filter(([, { result }]) => result === 'pass').length > 20, file)
        assert.deepEqual(
          results.filter(([, { result }]) => result === 'error' || result === 'fatal').map(([lint]) => lint),
          [],
          file,
        )
      }
    })
})
