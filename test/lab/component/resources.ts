/** The kinds of objects that the stand-in's API has, a row each, and what may be asked of them. */
import type { Answer, Request } from './serving.ts'
import type { Store, Thing } from './store.ts'

/** An answer that is no success, in the form of the Kubernetes API. */
export class StatusError extends Error {
  readonly code: number
  readonly reason: string

  constructor(code: number, reason: string, message: string) {
    super(message)
    this.code = code
    this.reason = reason
  }

  answer(): Answer {
    const { code, reason, message } = this
    const body = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
    return { status: code, body }
  }
}

interface Resource {
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

/** Throws where the path is none of an object or a list. */
export function findResource(path: string): Asked {
  const [, group = '', rest = ''] = /^\/api(?:s\/([^/]+))?\/v1\/(.+)$/.exec(path) ?? []
  const [, namespace = '', plural = '', name = ''] =
    /^(?:namespaces\/([^/]+)\/)?([a-z]+)(?:\/([^/]+))?$/.exec(rest) ?? []
  const resource = resources.find((each) => each.group === group && each.name === plural)
  if (resource) return { resource, namespace, name }
  throw new StatusError(404, 'NotFound', 'the server could not find the requested resource')
}

export async function answerFor(store: Store, asked: Asked, { method, url, body }: Request): Promise<Answer> {
  switch (`${method} ${asked.name === '' ? 'list' : 'one'}`) {
    case 'GET list':
      return { status: 200, body: select(await store.list(asked), url.searchParams) }
    case 'GET one':
      return { status: 200, body: await store.get(asked) }
    case 'POST list':
      return { status: 201, body: await store.create(asked, parseBody(body)) }
    case 'PUT one':
      return { status: 200, body: await store.update(asked, parseBody(body)) }
    case 'DELETE one':
      return { status: 200, body: await store.delete(asked) }
    default:
      throw new StatusError(405, 'MethodNotAllowed', `this stand-in does not play ${method} here`)
  }
}

/** By the type of Secrets, and by one label's value. */
function select(list: Thing, query: URLSearchParams): Thing {
  const [fields, label] = [query.get('fieldSelector') ?? '', query.get('labelSelector') ?? '']
  const [, type] = /^type=(.+)$/.exec(fields) ?? []
  const [, name, value] = /^([^=,]+)=([^=,]+)$/.exec(label) ?? []
  if (query.get('watch') || (fields && !type) || (label && !name))
    throw new StatusError(501, 'NotImplemented', 'this stand-in plays the selectors type= and NAME=VALUE alone')
  const items = (list.items as readonly Thing[])
    .filter((each) => type === undefined || each.type === type)
    .filter(({ metadata }) => name === undefined || metadata?.labels?.[name] === value)
  return { ...list, items }
}

/** kubectl's typed commands (`create secret`) send protobuf; its `create -f` and `--raw` send JSON. */
export function parseBody(body: string): Record<string, unknown> {
  try {
    return JSON.parse(body)
  } catch {
    throw new StatusError(415, 'UnsupportedMediaType', 'this stand-in reads JSON')
  }
}
