/** `rotate encryption-key`: the next key opens everywhere before it seals anywhere; then every stored object is written anew. */

import { randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, tryToAwait, usageFailure } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/backup.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import {
  addKey,
  keepKeys,
  readSealingKeys,
  type SealingKeys,
  sealWithEarlier,
  sealWithNewest,
} from '../../lib/kubernetes/sealing-keys.ts'
import { countSeals, readSeal, registry, sealPrefix } from '../../lib/kubernetes/stored.ts'
import { withApi, withStore } from '../nodes/component.ts'
import { encryptionConfig } from '../tables/files.ts'
import { apiServersOn, someApiServer } from './components.ts'
import { rewriteTargets } from './rewrite.ts'
import type { Rotating, Rotation, Stage } from './rotation.ts'

const { file } = encryptionConfig
const changes = (name: string) => name === file

const added: Stage = {
  name: 'added',
  title: 'each API server can open what the next key seals, and the present one seals',
  changes,
  proof: 'each API server was started after the file came into its place',
  async begin({ workspace }) {
    const { resources = [] } = readEncryptionConfig(workspace.auth.bytes(file).toString()) ?? {}
    const wide = resources.filter((resource) => resource.includes('*'))
    if (wide.length > 0)
      throw usageFailure(
        `encryption.resources has ${wide.join(', ')}: what that covers can't be written anew one by one`,
        'name each resource in cluster.yaml',
      )
    edit(workspace, (text) => addKey(text, randomBytes(32).toString('base64')))
  },
  async bound(rotating) {
    const { names = [] } = keysOf(rotating.workspace) ?? {}
    const sealed = await countSealed(rotating, names.slice(-1))
    return sealed.map(({ objects, name }) => `${objects}, which ${name} has sealed`)
  },
  async undo({ workspace }) {
    edit(workspace, (text) => keepKeys(text, readSealingKeys(text)?.names.slice(0, -1) ?? []))
  },
}

const first: Stage = {
  name: 'first',
  title: 'the next key seals, and every stored object is written anew',
  changes,
  proof:
    'a Secret that is written through each API server is sealed by the next key in etcd; and so is every stored object',
  async begin({ workspace }) {
    edit(workspace, sealWithNewest)
  },
  prove: proveSealing,
  targets: rewriteTargets,
  async undo({ workspace }) {
    edit(workspace, sealWithEarlier)
  },
}

const finished: Stage = {
  name: 'finished',
  title: 'the earlier key is in auth/backup alone, for old snapshots of etcd',
  changes,
  proof: 'a Secret that is written through each API server is sealed by the one key in etcd',
  isLast: true,
  isNeverForced: true,
  async heldBy(rotating) {
    const { names: [, ...earlier] = [] } = keysOf(rotating.workspace) ?? {}
    const sealed = await countSealed(rotating, earlier)
    return sealed.map(({ objects, name }) => `${objects}, sealed by ${name}`)
  },
  async begin({ workspace }) {
    edit(workspace, (text) => keepKeys(text, readSealingKeys(text)?.names.slice(0, 1) ?? []))
  },
  prove: proveSealing,
}

export const encryptionKeyRotation: Rotation = {
  name: 'encryption-key',
  what: 'the encryption key',
  stages: [added, first, finished],
  stageOf: (workspace) => keysOf(workspace)?.stage ?? 'settled',
  unseen: () => [
    'snapshots of etcd that were taken before: they are opened by the earlier key, which stays in auth/backup',
  ],
}

function keysOf({ auth }: Pick<Workspace, 'auth'>): SealingKeys | undefined {
  const text = auth.tryBytes(file)
  return text && readSealingKeys(text.toString())
}

/** The earlier text is kept: what a key has sealed once is never lost. */
function edit({ auth, now }: Workspace, change: (text: string) => string): void {
  const text = auth.bytes(file).toString()
  const keys = readSealingKeys(text)
  if (!keys)
    throw new Failure(`${auth.path}/${file}: its first provider has no key in it`, {
      remedy: 'only aescbc, aesgcm and secretbox have a key that can be rotated here',
    })
  const changed = change(text)
  if (readSealingKeys(changed) === undefined) throw new Error('the changed text has no key')
  backUp(auth, [file], now)
  auth.write(file, changed, secretMode, { durable: true })
}

interface Sealed {
  readonly name: string
  /** In words. */
  readonly objects: string
}

/** Of the keys, those that have sealed what is in etcd; of all of it. */
async function countSealed(rotating: Rotating, names: readonly string[]): Promise<Sealed[]> {
  const keys = keysOf(rotating.workspace)
  if (!keys || names.length === 0) return []
  const counts = await withStore(rotating, await someApiServer(rotating), countSeals)
  return names.flatMap((name) => {
    const count = counts.get(sealPrefix({ provider: keys.provider, name })) ?? 0
    return count > 0 ? [{ name, objects: `${count} stored ${count === 1 ? 'object' : 'objects'}` }] : []
  })
}

/** Written through the API server of the node, read from etcd, and removed. */
async function proveSealing(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  const units = await apiServersOn(rotating, node)
  if (units.length === 0) return []
  const keys = keysOf(rotating.workspace)
  const [newest] = keys?.names ?? []
  if (!keys || newest === undefined) return []
  const asked = sealPrefix({ provider: keys.provider, name: newest })
  if (!rotating.workspace.cluster.encryption.resources.includes('secrets')) return []
  const name = `harderway-proof-${node.name.toLowerCase().replaceAll('_', '-')}`
  const path = '/api/v1/namespaces/kube-system/secrets'
  const seal = await withApi(rotating, node, async (api) => {
    // One that a killed run left proves nothing of now.
    await api.ask('DELETE', `${path}/${name}`)
    await api.read('POST', path, { apiVersion: 'v1', kind: 'Secret', metadata: { name }, type: 'Opaque' })
    try {
      return await withStore(rotating, node, (etcd) => readSeal(etcd, `${registry}secrets/kube-system/${name}`))
    } finally {
      // What went wrong is told first; one that stays is removed by the next proof.
      await tryToAwait(() => api.ask('DELETE', `${path}/${name}`))
    }
  })
  if (seal !== asked)
    throw new Failure(`its API server seals with another key than ${newest}`, {
      node: node.name,
      remedy: 'see its --encryption-provider-config: systemctl cat kube-apiserver',
    })
  return units
}
