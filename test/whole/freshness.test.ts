import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { copyPlace, type Edit, exits, idsOf, madePlace, messageOf } from '../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const quick: Edit = [['certificates', 'key'], 'ecdsa-p256']

interface Row {
  readonly edits?: readonly Edit[]
  readonly spoil?: (auth: string) => void
}

/** What is done, what must be made again, and the reason of the last of it. Other reasons: test/lib/pki/pair.test.ts. */
const stale: Readonly<Record<string, Row & { readonly built: readonly string[]; readonly reason: string }>> = {
  'a SAN less in cluster.yaml': {
    edits: [[['nodes', 3, 'ip'], '192.168.1.99']],
    built: ['kubeconfigs/worker0', 'node-certs/worker0'],
    reason: 'made: SAN added: 192.168.1.99; SAN removed: 192.168.1.14',
  },
  'a kubeconfig that is missing': {
    spoil: (auth) => rmSync(join(auth, 'admin.kubeconfig')),
    built: ['kubeconfigs/admin'],
    reason: 'made: admin.kubeconfig missing',
  },
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

  for (const [title, { edits = [], spoil, built, reason }] of Object.entries(stale))
    test(`${title} is named, repaired, and nothing else is touched`, async (t) => {
      const { place, auth } = copyPlace(t, origin, [quick, ...edits])
      spoil?.(auth)
      const before = inodes(auth)
      const ran = await exits(0, place, ...phases, '--json')
      assert.deepEqual(idsOf(ran, 'built'), built)
      assert.equal(messageOf(ran, built.at(-1) ?? ''), reason)
      const [, name = ''] = built[0]?.split('/') ?? []
      for (const [file, inode] of inodes(auth))
        if (!file.startsWith(name) && file !== 'backup') assert.equal(inode, before.get(file), file)
      assert.deepEqual(idsOf(await exits(0, place, ...phases, '--json'), 'built'), [])
    })

  for (const [title, { edits = [], spoil }] of Object.entries(harmless))
    test(`${title} makes nothing stale`, async (t) => {
      const { place, auth } = copyPlace(t, origin, [quick, ...edits])
      spoil?.(auth)
      assert.deepEqual(idsOf(await exits(0, place, ...phases, '--json'), 'built'), [])
    })
})

function inodes(auth: string): Map<string, string> {
  const stats = readdirSync(auth).map((name) => ({ name, ...lstatSync(join(auth, name)) }))
  return new Map(stats.map(({ name, ino, mtimeMs }) => [name, `${ino} ${mtimeMs}`]))
}
