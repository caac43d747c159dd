import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { copyPlace, type Edit, exits, idsOf, madePlace } from '../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const quick: Edit = [['certificates', 'key'], 'ecdsa-p256']

interface Row {
  readonly edits?: readonly Edit[]
  readonly spoil?: (auth: string) => void
}

/** What changes nothing that was asked for. */
const harmless: Readonly<Record<string, Row>> = {
  'another validity': { edits: [[['certificates', 'validity'], '5y']] },
  'a SAN that is there already': {
    edits: [
      [
        ['api', 'extraSANs'],
        ['control0', '10.32.0.1'],
      ],
    ],
  },
  'another place for ssh': { edits: [[['nodes', 0, 'host'], 'elsewhere']] },
  'a kubeconfig in another layout': {
    spoil: (auth) => {
      const file = join(auth, 'admin.kubeconfig')
      writeFileSync(file, readFileSync(file, 'utf8').replace('kind: Config\n', '$&preferences: {}\n# by hand\n'))
    },
  },
}

describe('freshness, read from the files themselves', () => {
  const origin = madePlace([quick], ...phases)

  for (const [title, { edits = [], spoil }] of Object.entries(harmless))
    test(`${title} makes nothing stale`, async (t) => {
      const { place, auth } = copyPlace(t, origin, [quick, ...edits])
      spoil?.(auth)
      assert.deepEqual(idsOf(await exits(0, place, ...phases, '--json'), 'built'), [])
    })
})
