/** What recover reads of a control node. */
import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Query } from '../../../lib/node/node.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { sourceOnNode } from '../../../tasks/commands/recover.ts'
import { readNode } from '../../../tasks/inspect/look.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { certTable } from '../../../tasks/layouts/tables.ts'
import { makeEverything, now, temporaryAuth, year } from '../../support/certificates.ts'
import { control, folderWith, placesWith, rootsFile, seenIn, twoNodes } from '../../support/fakes.ts'
import { scratch } from '../../support/files.ts'

test('where root may not look at what units read, recover takes the folder', async (t) => {
  const { install: _, ...cluster } = twoNodes
  const places = {
    ...{ now: 0, units: new Map(), folders: new Set(), real: new Map(), links: new Map() },
    ...{ above: new Map(), ways: new Map() },
    ...{ odd: [], drained: [], files: new Map(), contents: new Map(), published: new Map() },
  }
  const look = async (query: Query) => ({
    ...{ folder: '/home/jane', files: new Map(), contents: new Map([['ca.pem', Buffer.from('a CA')]]) },
    places: query.places?.sudo === '' ? places : new Failure('a password is required', { code: 'no-root' }),
  })
  const auth = new AuthDir(scratch(t), harderWay.files)
  const run = { cluster, auth, options: {}, connect: async () => ({ look }) } as unknown as Run
  const node = { ...twoNodes.nodes[0], user: 'jane' } as ClusterNode
  const { files } = sourceOnNode(run, node, await readNode(run, node))
  assert.deepEqual(
    [...files].flatMap(([name, { bytes }]) => (bytes ? name : [])),
    ['ca.pem'],
  )
})

test('of two certificates over the key for tokens the newer is taken from the folder, where units have the older one', async (t) => {
  const auth = temporaryAuth(t)
  await makeEverything(auth, twoNodes)
  const [name, key] = ['service-account.pem', auth.bytes('service-account-key.pem')]
  const older = auth.bytes(name)
  const { profile } = certTable(twoNodes).find((row) => row.name === 'service-account') ?? assert.fail()
  const later = new Date(now.getTime() + 86_400_000)
  const signing = { profile, issuer: readIssuer(auth), validity: year, now: later }
  await makePair(auth, 'service-account', { ...signing, key: createPrivateKey(key) })
  const newer = auth.bytes(name)
  const run = { cluster: twoNodes, auth } as unknown as Run
  const taken = (inFolder: Buffer, inPlace: Buffer) => {
    const holding = (at: string, bytes: Buffer) => ({
      files: new Map([[at, rootsFile]]),
      contents: new Map([[at, bytes]]),
    })
    const places = placesWith(holding(`/var/lib/kubernetes/${name}`, inPlace))
    const { files, contents } = holding(name, inFolder)
    const all = new Map([...contents, ['ca.pem', auth.bytes('ca.pem')] as const])
    return sourceOnNode(
      run,
      control,
      seenIn(twoNodes, control, folderWith({ files, contents: all, places })),
    ).files.get(name)?.bytes
  }
  assert.ok(!newer.equals(older))
  assert.deepEqual([taken(newer, older), taken(older, newer)], [newer, newer])
})
