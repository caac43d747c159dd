/** `rotate encryption-key`: all decrypt with the next key before any encrypts with it. Stages: EncryptionKeys. */

import { randomBytes } from 'node:crypto'
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait, usageFailure } from '../../lib/failure.ts'
import { backUp, backups } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { type Client, isAnswer } from '../../lib/kubernetes/client.ts'
import {
  addKey,
  countEncrypted,
  type EncryptionKey,
  type EncryptionKeys,
  encryptedPrefix,
  encryptWithNewest,
  encryptWithPrevious,
  findStored,
  keepKeys,
  readEncryptedBy,
  readEncryptionConfig,
  readEncryptionKeys,
  registry,
} from '../../lib/kubernetes/encryption.ts'
import { count } from '../../lib/wording.ts'
import { readEncryptionState } from '../auth/states.ts'
import type { ClusterTarget, Run } from '../cluster-target.ts'
import { type Asking, withApi, withEtcd } from '../inspect/component.ts'
import { apiServer } from '../layouts/layout.ts'
import { encryptionConfig, serviceOf } from '../layouts/tables.ts'
import type { Rotating, Rotation, Stage } from './rotations.ts'
import { lookAtApiServer, someApiServer } from './survey.ts'

const { file } = encryptionConfig

const added: Stage = {
  name: 'added',
  title: 'encrypt with the current key; decrypt with both',
  proof: 'each API server has started or reloaded since the file was installed',
  async begin({ run }) {
    const { resources = [] } = readEncryptionConfig(run.auth.bytes(file)) ?? {}
    const wide = resources.filter((resource) => resource.includes('*'))
    if (wide.length > 0)
      throw usageFailure(
        `encryption.resources has ${wide.join(', ')}, whose objects can't be rewritten one by one`,
        'list each resource in cluster.yaml',
      )
    const { provider } = run.cluster.encryption
    const kept = backups(run.auth, file)
    edit(run, (text) => addKey(text, randomBytes(32).toString('base64'), provider, kept))
  },
  async undoBreaks(rotating) {
    const { newest } = readEncryptionState(rotating.run) ?? {}
    return countUses(rotating, newest ? [newest] : [])
  },
  async undo({ run }) {
    edit(run, (text, { keys, newest }) =>
      keepKeys(
        text,
        keys.filter((key) => key !== newest),
      ),
    )
  },
}

const encrypting: Stage = {
  name: 'encrypting',
  title: 'encrypt with the next key; rewrite every stored object',
  proof: "a Secret written through each API server, and every stored object, has the next key's prefix in etcd",
  async begin({ run }) {
    edit(run, encryptWithNewest)
  },
  prove: proveEncryption,
  targets: rewriteTargets,
  async undo({ run }) {
    edit(run, encryptWithPrevious)
  },
}

const finishing: Stage = {
  name: 'finishing',
  title: 'remove the old key; auth/backup keeps it for old etcd snapshots',
  proof: "a Secret written through each API server has the new key's prefix in etcd",
  isNeverForced: true,
  async usedBy(rotating) {
    const { keys: [, ...old] = [] } = readEncryptionState(rotating.run) ?? {}
    return countUses(rotating, old)
  },
  async begin({ run }) {
    edit(run, (text, { keys: [first] }) => keepKeys(text, [first]))
  },
  prove: proveEncryption,
}

export const encryptionKeyRotation: Rotation = {
  name: 'encryption-key',
  what: 'the encryption key',
  needsSnapshot: true,
  stages: [added, encrypting, finishing],
  stageOf: (run) => readEncryptionState(run)?.stage ?? 'settled',
  wasRun: ({ auth }) => backups(auth, file).length > 0,
}

/** The old text is kept: a key that has encrypted something is never lost. */
function edit({ auth, now }: Run, change: (text: string, keys: EncryptionKeys) => string): void {
  const keys = readEncryptionState({ auth })
  if (!keys)
    throw new Failure(`the first provider in ${auth.path}/${file} has no key`, {
      remedy: 'only keys of aescbc, aesgcm and secretbox can be rotated',
    })
  const changed = change(auth.bytes(file).toString(), keys)
  if (readEncryptionKeys(Buffer.from(changed)) === undefined) throw new Error('the changed text has no key')
  backUp(auth, [file], now)
  auth.writeDurably([file, changed, secretMode])
}

/** How much in all of etcd each of the keys has encrypted, in words. */
async function countUses(rotating: Rotating, keys: readonly EncryptionKey[]): Promise<string[]> {
  if (keys.length === 0) return []
  const counts = await withEtcd(rotating, await someApiServer(rotating), countEncrypted)
  return keys.flatMap((key) => {
    const uses = counts.get(encryptedPrefix(key)) ?? 0
    return uses > 0 ? [`${count(uses, 'stored object')} encrypted with ${key.name} (${key.provider})`] : []
  })
}

/** Writes an empty Secret by the node's API server, reads it from etcd, and removes it. Else its metrics tell. */
async function proveEncryption(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  const { auth } = rotating.run
  const { keys: [first] = [] } = readEncryptionState(rotating.run) ?? {}
  const isProof = readEncryptionConfig(auth.bytes(file))?.resources.includes('secrets')
  if (first === undefined || !isProof || !(await lookAtApiServer(rotating.run, node))) return []
  const name = `harderway-proof-${node.name.toLowerCase().replaceAll('_', '-')}`
  const path = '/api/v1/namespaces/kube-system/secrets'
  const prefix = await withApi(rotating, node, async (api) => {
    // One that a killed run has left proves nothing.
    await api.ask('DELETE', `${path}/${name}`)
    await api.readText('POST', path, { apiVersion: 'v1', kind: 'Secret', metadata: { name } })
    try {
      return await withEtcd(rotating, node, (etcd) => readEncryptedBy(etcd, `${registry}secrets/kube-system/${name}`))
    } finally {
      // A failure of the work is reported, not one of this: the next proof removes what stays.
      await tryToAwait(() => api.ask('DELETE', `${path}/${name}`))
    }
  })
  if (prefix !== encryptedPrefix(first))
    throw new Failure(`the API server encrypts with another key than ${first.name} (${first.provider})`, {
      node: node.name,
      remedy: `check its --encryption-provider-config:\n    systemctl cat ${serviceOf(rotating.run.cluster, apiServer)}`,
    })
  return [apiServer]
}

export const rewritePhase = {
  name: 'rewrite',
  title: 'Stored objects',
  makes: 'each one encrypted with the current key',
}

const atOnce = 8

/** One target a resource, one after the other: the work is etcd's. What others write is encrypted already. */
function rewriteTargets(asking: Asking): ClusterTarget[] {
  const { name: phase } = rewritePhase
  // Of the entry whose keys are rotated: other entries of the file have keys of their own.
  const { resources = [] } = readEncryptionConfig(asking.run.auth.bytes(file)) ?? {}
  return resources.map(
    (resource, i, all): ClusterTarget<readonly string[]> => ({
      id: `${phase}/${resource}`,
      phase,
      needs: all.slice(0, i).map((earlier) => `${phase}/${earlier}`),
      makes: [],
      where: 'node',
      check: async () => {
        const left = await findLeft(asking, resource)
        const what = `${left.length} stored ${resource} are not encrypted with the current key`
        return { diffs: left.length > 0 ? [{ what, verb: 'rewrite' }] : [], findings: left }
      },
      build: async (_, { findings: found, tell }) => {
        await rewriteAll(asking, resource, found, (done) => tell(`rewriting ${done} of ${found.length}`))
        const left = await findLeft(asking, resource)
        if (left.length === 0) return { note: `${found.length} stored objects` }
        throw new Failure(`${left.length} stored ${resource} are still encrypted with an old key, such as ${left[0]}`, {
          remedy: `check whether another program writes them to etcd directly, then ${runAgain}`,
        })
      },
    }),
  )
}

/** The objects not encrypted with the present key, each as `<namespace>/<name>` or `<name>`. */
async function findLeft(asking: Asking, resource: string): Promise<string[]> {
  const keys = readEncryptionKeys(asking.run.auth.bytes(file))
  if (!keys) throw new Failure(`${encryptionConfig.file} has no encryption key`)
  const desired = encryptedPrefix(keys.keys[0])
  return withEtcd(asking, await someApiServer(asking), async (etcd) => {
    const left: string[] = []
    for (const folder of foldersOf(resource)) {
      const found = await findStored(etcd, folder, (prefix) => prefix !== desired)
      left.push(...found.map((key) => key.slice(folder.length)))
    }
    return left
  })
}

/** Resources with another folder in etcd: Kubernetes' pkg/kubeapiserver/default_storage_factory_builder.go. */
const specialFolders: Readonly<Record<string, string>> = {
  endpoints: 'services/endpoints',
  services: 'services/specs',
  nodes: 'minions',
  replicationcontrollers: 'controllers',
  'ingresses.networking.k8s.io': 'ingress',
}

/** Kubernetes' own groups; a resource of another group is in the group's folder. */
const ownGroup = /^(|apps|autoscaling|batch|extensions|policy|[a-z.]+\.k8s\.io)$/

/** Some of Kubernetes' own are in the group's folder too, such as apiextensions.k8s.io. */
function foldersOf(resource: string): string[] {
  const [plural, group] = split(resource)
  const own = ownGroup.test(group) ? [specialFolders[resource] ?? plural] : []
  return [...own, ...(group === '' ? [] : [`${group}/${plural}`])].map((folder) => `${registry}${folder}/`)
}

function split(resource: string): [plural: string, group: string] {
  const dot = resource.indexOf('.')
  return dot < 0 ? [resource, ''] : [resource.slice(0, dot), resource.slice(dot + 1)]
}

async function rewriteAll(
  asking: Asking,
  resource: string,
  names: readonly string[],
  reportDone: (done: number) => void,
): Promise<void> {
  await withApi(asking, await someApiServer(asking), async (api) => {
    const folder = await apiFolder(api, resource)
    try {
      for (let done = 0; done < names.length; done += atOnce) {
        asking.signal?.throwIfAborted()
        reportDone(done)
        await Promise.all(names.slice(done, done + atOnce).map((name) => rewrite(api, pathOf(folder, resource, name))))
      }
    } catch (error) {
      if (!(error instanceof Failure) || !error.code?.startsWith('http-')) throw error
      throw error.with({
        remedy: `find what denies it (an admission webhook or policy) with kubectl get and kubectl replace, then ${runAgain}`,
      })
    }
  })
}

const apiGroup = v.object({ preferredVersion: v.object({ version: v.string() }) })

/** `/api/v1`, or `/apis/<group>/<its preferred version>`. */
async function apiFolder(api: Client, resource: string): Promise<string> {
  const [, group] = split(resource)
  if (group === '') return '/api/v1'
  const { preferredVersion } = await api.read(apiGroup, 'GET', `/apis/${group}`)
  return `/apis/${group}/${preferredVersion.version}`
}

function pathOf(folder: string, resource: string, stored: string): string {
  const [plural] = split(resource)
  const [namespace = '', name] = stored.split('/').map(encodeURIComponent)
  return name === undefined ? `${folder}/${plural}/${namespace}` : `${folder}/namespaces/${namespace}/${plural}/${name}`
}

/** The text as read, with its resourceVersion. 404: it is gone. 409: another has written, and so encrypted, it. */
export async function rewrite(api: Client, path: string): Promise<void> {
  try {
    await api.readText('PUT', path, await api.readText('GET', path))
  } catch (error) {
    if (!isAnswer(error, 404, 409)) throw error
  }
}
