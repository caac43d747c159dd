/** The kinds of objects that the stand-in's API has, a row each, and what may be asked of them. */
import type { Answer, Request } from './serving.ts'
import { StatusError } from './status.ts'
import type { Store, Thing } from './store.ts'

export interface Resource {
  readonly group: '' | 'coordination.k8s.io'
  readonly name: string
  readonly kind: string
  readonly namespaced: boolean
  /** Its folder in etcd. */
  readonly prefix: string
}

export const resources: readonly Resource[] = [
  { group: '', name: 'secrets', kind: 'Secret', namespaced: true, prefix: '/registry/secrets/' },
  { group: '', name: 'configmaps', kind: 'ConfigMap', namespaced: true, prefix: '/registry/configmaps/' },
  { group: '', name: 'nodes', kind: 'Node', namespaced: false, prefix: '/registry/minions/' },
  { group: 'coordination.k8s.io', name: 'leases', kind: 'Lease', namespaced: true, prefix: '/registry/leases/' },
]

export const apiVersion = ({ group }: Resource) => (group === '' ? 'v1' : `${group}/v1`)

export interface Asked {
  readonly resource: Resource
  readonly namespace: string
  readonly name: string
}

/** Undefined where the path is none of an object or a list. */
export function findResource(path: string): Asked | undefined {
  const [, group = '', rest = ''] = /^\/api(?:s\/([^/]+))?\/v1\/(.+)$/.exec(path) ?? []
  const [, namespace = '', plural = '', name = ''] =
    /^(?:namespaces\/([^/]+)\/)?([a-z]+)(?:\/([^/]+?))?(?:\/status)?$/.exec(rest) ?? []
  const resource = resources.find((each) => each.group === group && each.name === plural)
  if (resource === undefined || (!resource.namespaced && namespace !== '')) return undefined
  return { resource, namespace, name }
}

const unplayed = ['watch', 'dryRun', 'resourceVersionMatch']

export async function answerFor(store: Store, asked: Asked, request: Request): Promise<Answer> {
  const query = request.url.searchParams
  const option = unplayed.find((name) => query.get(name))
  if (option !== undefined) throw new StatusError(501, 'NotImplemented', `this stand-in does not play ${option}`)
  switch (`${request.method} ${asked.name === '' ? 'list' : 'one'}`) {
    case 'GET list':
      return {
        status: 200,
        body: select(
          await store.list(asked, Number(query.get('limit') ?? 0), query.get('continue') ?? ''),
          query.get('fieldSelector') ?? '',
          query.get('labelSelector') ?? '',
        ),
      }
    case 'GET one':
      return { status: 200, body: await store.get(asked) }
    case 'POST list':
      return { status: 201, body: await store.create(asked, parseBody(request.body)) }
    case 'PUT one':
      return { status: 200, body: await store.update(asked, parseBody(request.body)) }
    case 'DELETE one':
      return { status: 200, body: await store.delete(asked) }
    default:
      throw new StatusError(405, 'MethodNotAllowed', `this stand-in does not play ${request.method} here`)
  }
}

/** By the type of Secrets, and by one label's value. */
function select(list: Thing, fields: string, label: string): Thing {
  const [, type] = /^type=(.+)$/.exec(fields) ?? []
  const [, name, value] = /^([^=,]+)=([^=,]+)$/.exec(label) ?? []
  if (fields !== '' && type === undefined) throw new StatusError(501, 'NotImplemented', 'only type= is played')
  if (label !== '' && name === undefined) throw new StatusError(501, 'NotImplemented', 'only NAME=VALUE is played')
  const items = (list.items as readonly Thing[])
    .filter((each) => type === undefined || each.type === type)
    .filter(({ metadata }) => name === undefined || metadata?.labels?.[name] === value)
  return { ...list, items }
}

/**
 * What kubectl's typed commands send (`create secret`, `create token`) is protobuf; its `create -f` and `--raw` send
 * JSON.
 */
export function parseBody(body: string): Record<string, unknown> {
  try {
    return JSON.parse(body)
  } catch {
    throw new StatusError(415, 'UnsupportedMediaType', 'this stand-in reads JSON')
  }
}
