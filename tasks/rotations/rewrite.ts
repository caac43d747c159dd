/** Rewrites every stored object of encryption.resources unchanged: only then is its value encrypted with the present key. */
import * as v from 'valibot'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Target } from '../../lib/graph/target.ts'
import { type Client, isAnswer } from '../../lib/kubernetes/client.ts'
import { readEncryptionConfig, readEncryptionKeys } from '../../lib/kubernetes/encryption.ts'
import { encryptedPrefix, findStored, registry } from '../../lib/kubernetes/stored.ts'
import { type Asking, withApi, withStore } from '../nodes/component.ts'
import { encryptionConfig } from '../tables/files.ts'
import { someApiServer } from './components.ts'

export const rewritePhase = {
  name: 'rewrite',
  title: 'Stored objects',
  makes: 'each one encrypted with the present key',
}

/** Objects between two reports of progress. */
const reportEach = 20

/**
 * One target a resource, one after the other: the work is etcd's. Every API server encrypts with the present key by now, so what
 * others write meanwhile needs no second pass.
 */
export function rewriteTargets(asking: Asking): Target[] {
  const { name: phase } = rewritePhase
  return resourcesOf(asking).map(
    (resource, i, all): Target<readonly string[]> => ({
      id: `${phase}/${resource}`,
      phase,
      needs: [],
      after: all.slice(0, i).map((earlier) => `${phase}/${earlier}`),
      makes: [],
      where: 'node',
      check: async () => {
        const left = await findLeft(asking, resource)
        const what = `${left.length} stored ${resource} are not encrypted with the present key`
        return { reasons: left.length > 0 ? [{ kind: 'rotation', what }] : [], found: left }
      },
      build: async (_, { found, tell }) => {
        await rewriteAll(asking, resource, found, (done) => tell({ doing: 'rewriting', done, of: found.length }))
        const left = await findLeft(asking, resource)
        if (left.length === 0) return { change: { kind: 'rewritten', objects: found.length } }
        throw new Failure(
          `${left.length} stored ${resource} are still encrypted with an old key, ${left[0]} among them`,
          {
            remedy: `see whether another program writes them to etcd directly, then ${runAgain}`,
          },
        )
      },
    }),
  )
}

function configText({ run: { auth } }: Asking): string {
  return auth.bytes(encryptionConfig.file).toString()
}

/** Of the entry whose keys are rotated: other entries of the file have keys of their own. */
function resourcesOf(asking: Asking): readonly string[] {
  return readEncryptionConfig(configText(asking))?.resources ?? []
}

/** The objects not encrypted with the present key, each as `<namespace>/<name>` or `<name>`. */
async function findLeft(asking: Asking, resource: string): Promise<string[]> {
  const keys = readEncryptionKeys(configText(asking))
  if (!keys) throw new Failure(`${encryptionConfig.file} has no key that could encrypt`)
  const wanted = encryptedPrefix(keys.keys[0])
  return withStore(asking, await someApiServer(asking), async (etcd) => {
    const left: string[] = []
    for (const folder of foldersOf(resource)) {
      const found = await findStored(etcd, folder, (prefix) => prefix !== wanted)
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

/** Four at once, on connections that are kept. */
async function rewriteAll(
  asking: Asking,
  resource: string,
  names: readonly string[],
  reportDone: (done: number) => void,
): Promise<void> {
  await withApi(asking, await someApiServer(asking), async (api) => {
    const folder = await apiFolder(api, resource)
    const waiting = [...names]
    const failures: Failure[] = []
    const work = async () => {
      for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
        asking.signal?.throwIfAborted()
        await rewrite(api, pathOf(folder, resource, name)).catch((error) => {
          if (!(error instanceof Failure) || !error.code?.startsWith('http-')) throw error
          failures.push(error)
        })
        if (waiting.length % reportEach === 0) reportDone(names.length - waiting.length)
      }
    }
    await Promise.all(Array.from({ length: 4 }, work))
    const [first] = failures
    if (first)
      throw new Failure(`${failures.length} of ${names.length} ${resource} could not be rewritten: ${first.message}`, {
        remedy: `see what refuses it (an admission webhook, a policy): kubectl get it, and replace it; then ${runAgain}`,
      })
  })
}

const apiGroup = v.object({ preferredVersion: v.object({ version: v.string() }) })

/** `/api/v1`, or `/apis/<group>/<its preferred version>`. */
async function apiFolder(api: Client, resource: string): Promise<string> {
  const [, group] = split(resource)
  if (group === '') return '/api/v1'
  const { preferredVersion } = await api.readAs(apiGroup, 'GET', `/apis/${group}`)
  return `/apis/${group}/${preferredVersion.version}`
}

function pathOf(folder: string, resource: string, stored: string): string {
  const [plural] = split(resource)
  const [namespace = '', name] = stored.split('/').map(encodeURIComponent)
  return name === undefined ? `${folder}/${plural}/${namespace}` : `${folder}/namespaces/${namespace}/${plural}/${name}`
}

/** With the resourceVersion that was read. 404: it is gone. 409: somebody wrote it meanwhile, which encrypted it with the present key. */
async function rewrite(api: Client, path: string): Promise<void> {
  try {
    await api.read('PUT', path, await api.read('GET', path))
  } catch (error) {
    if (!isAnswer(error, 404, 409)) throw error
  }
}
