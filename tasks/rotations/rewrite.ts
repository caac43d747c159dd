/** Writes every stored object of encryption.resources anew, each as it is: only then its value is sealed by the key that seals now. */
import * as v from 'valibot'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Target } from '../../lib/graph/target.ts'
import type { Client } from '../../lib/kubernetes/client.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { readObject } from '../../lib/kubernetes/probe.ts'
import { readSealingKeys } from '../../lib/kubernetes/sealing-keys.ts'
import { findSealed, registry, sealPrefix } from '../../lib/kubernetes/stored.ts'
import { type Serving, withApi, withStore } from '../nodes/component.ts'
import { encryptionConfig } from '../tables/files.ts'
import { someApiServer } from './components.ts'

export const rewritePhase = {
  name: 'rewrite',
  title: 'Stored objects',
  makes: 'each one sealed by the key that seals now',
}

/** Objects: how often it is told how far it is. */
const toldEach = 20

/** What others write meanwhile is sealed by that key already: twice is enough, but for who writes by another way. */
const passes = 3

/** One of them at a time: they are as many as there are resources, and the work is etcd's. */
export function rewriteTargets(serving: Serving): Target[] {
  const { name: phase } = rewritePhase
  return resourcesOf(serving).map(
    (resource, i, all): Target<readonly string[]> => ({
      id: `${phase}/${resource}`,
      phase,
      needs: [],
      after: all.slice(0, i).map((earlier) => `${phase}/${earlier}`),
      makes: [],
      where: 'node',
      check: async () => {
        const left = await findLeft(serving, resource)
        const what = `${left.length} stored ${resource} are not sealed by the key that seals now`
        return { reasons: left.length > 0 ? [{ kind: 'rotation', what }] : [], found: left }
      },
      build: async (_, { found, tell }) => {
        let left = found
        for (let i = 0; i < passes && left.length > 0; i++) {
          await rewriteAll(serving, resource, left, (done) => tell({ doing: 'rewriting', done, of: found.length }))
          left = await findLeft(serving, resource)
        }
        if (left.length === 0) return { change: { kind: 'rewritten', objects: found.length } }
        throw new Failure(
          `${left.length} stored ${resource} are still sealed by an earlier key, ${left[0]} among them`,
          {
            remedy: `see whether another program writes them past the API, then ${runAgain}`,
          },
        )
      },
    }),
  )
}

/** Of the entry whose keys are rotated: others of the file have keys of their own. */
function resourcesOf({ workspace: { auth } }: Serving): readonly string[] {
  return readEncryptionConfig(auth.bytes(encryptionConfig.file).toString())?.resources ?? []
}

/** Each as `<namespace>/<name>`, or `<name>`. */
async function findLeft(serving: Serving, resource: string): Promise<string[]> {
  const text = serving.workspace.auth.bytes(encryptionConfig.file).toString()
  const keys = readSealingKeys(text)
  if (!keys) throw new Failure(`${encryptionConfig.file} has no key that could seal`)
  const asked = sealPrefix({ provider: keys.provider, name: keys.names[0] ?? '' })
  return withStore(serving, await someApiServer(serving), async (etcd) => {
    for (const folder of foldersOf(resource)) {
      const found = await findSealed(etcd, folder, (seal) => seal !== asked)
      if (found.length > 0) return found.map((key) => key.slice(folder.length))
    }
    return []
  })
}

/** What has another name in etcd: Kubernetes' pkg/kubeapiserver/default_storage_factory_builder.go. */
const specialFolders: Readonly<Record<string, string>> = {
  endpoints: 'services/endpoints',
  services: 'services/specs',
  nodes: 'minions',
  replicationcontrollers: 'controllers',
  'ingresses.networking.k8s.io': 'ingress',
}

/** Of groups that are Kubernetes' own: what is of another has the group's folder. */
const ownGroup = /^(|apps|autoscaling|batch|extensions|policy|[a-z.]+\.k8s\.io)$/

/** Some of Kubernetes' own have the group's folder too, such as apiextensions.k8s.io. */
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
  serving: Serving,
  resource: string,
  names: readonly string[],
  tellDone: (done: number) => void,
): Promise<void> {
  await withApi(serving, await someApiServer(serving), async (api) => {
    const folder = await apiFolder(api, resource)
    const waiting = [...names]
    const failures: Failure[] = []
    const work = async () => {
      for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
        serving.signal.throwIfAborted()
        await rewrite(api, pathOf(folder, resource, name)).catch((error) => {
          if (!(error instanceof Failure) || !error.code?.startsWith('http-')) throw error
          failures.push(error)
        })
        if (waiting.length % toldEach === 0) tellDone(names.length - waiting.length)
      }
    }
    await Promise.all(Array.from({ length: 4 }, work))
    const [first] = failures
    if (first)
      throw new Failure(
        `${failures.length} of ${names.length} ${resource} could not be written anew: ${first.message}`,
        {
          remedy: `see what refuses it (an admission webhook, a policy): kubectl get it, and replace it; then ${runAgain}`,
        },
      )
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

/**
 * As it was read, with its resourceVersion. 404: it is gone; 409: somebody has written it meanwhile, and it is read again
 * by the next pass.
 */
async function rewrite(api: Client, path: string): Promise<void> {
  const read = await api.ask('GET', path)
  if (read.status === 404) return
  if (read.status !== 200) throw new Failure(`GET ${path} answers ${read.status}`, { code: `http-${read.status}` })
  const written = await api.ask('PUT', path, readObject(read, `GET ${path}`))
  if (![200, 404, 409].includes(written.status))
    throw new Failure(`PUT ${path} answers ${written.status}`, { code: `http-${written.status}` })
}
