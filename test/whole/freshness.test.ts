import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { copyPlace, type Edit, exits, idsOf, madePlace } from '../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']

/** What changes nothing that was asked for. */
const harmless: Readonly<Record<string, Edit>> = {
  'another validity': [['certificates', 'validity'], '5y'],
  'a SAN that is there already': [
    ['api', 'extraSANs'],
    ['control0', '10.32.0.1'],
  ],
  'another place for ssh': [['nodes', 0, 'host'], 'elsewhere'],
}

describe('freshness, read from the files themselves', () => {
  const origin = madePlace([], ...phases)

  for (const [title, edit] of Object.entries(harmless))
    test(`${title} makes nothing stale`, async (t) => {
      const { place } = copyPlace(t, origin, [edit])
      assert.deepEqual(idsOf(await exits(0, place, ...phases, '--json'), 'built'), [])
    })
})
