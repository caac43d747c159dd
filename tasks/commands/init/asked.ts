/** What the command line asks for. Pure. */
import { basename, join } from 'node:path'
import { isDnsName } from '../../../lib/cluster/values.ts'
import { usage } from '../../request/options.ts'
import type { Call } from '../../request/session.ts'
import type { DraftNode } from './draft.ts'

export interface Asked {
  /** Absolute. */
  readonly folder: string
  /** The cluster.yaml to be written: absolute, and as it is typed. */
  readonly file: string
  readonly typedFile: string
  /** An auth/ that may be there: absolute. */
  readonly auth: string
  /** As it was named: then it must be one. */
  readonly from: string | undefined
  readonly name: string | undefined
  /** Undefined where it can't be a cluster's. */
  readonly folderName: string | undefined
  readonly nodes: readonly DraftNode[]
  readonly virtualIP: string | undefined
  readonly user: string | undefined
  /** Absolute. */
  readonly sshConfig: string | undefined
}

const roles = ['control', 'worker', 'gateway'] as const

/** Throws a usage Failure. */
export function parseAsked({ options, pathOf }: Pick<Call, 'options' | 'pathOf'>): Asked {
  const { names, config, from, name, sshConfig, virtualIP, user } = options
  const [typed, ...more] = names.slice(1)
  if (typed === undefined || typed === '' || more.length > 0)
    throw wrong(
      `give one folder, which gets a cluster.yaml${more.length > 0 ? `: not ${[typed, ...more].join(' and ')}` : ''}`,
    )
  if (config !== undefined) throw wrong('--config names a cluster.yaml that is there: init writes one into its folder')
  const folder = pathOf(typed)
  const own = basename(folder)
  return {
    folder,
    file: join(folder, 'cluster.yaml'),
    typedFile: join(typed, 'cluster.yaml'),
    auth: from === undefined ? join(folder, 'auth') : pathOf(from),
    from,
    name,
    folderName: isDnsName(own) ? own : undefined,
    nodes: roles.flatMap((role) => options[role].flatMap((list) => parseNodes(role, list))),
    virtualIP,
    user,
    sshConfig: sshConfig === undefined ? undefined : pathOf(sshConfig),
  }
}

/** `control0,control1`; a node that ssh knows by another name than Kubernetes is `NAME=HOST`. */
function parseNodes(role: DraftNode['role'], list: string): DraftNode[] {
  return list.split(',').map((word) => {
    const [, name = '', host] = /^([^=]*)(?:=(.*))?$/s.exec(word) ?? []
    if (name === '' || host === '') throw wrong(`--${role} ${list}: a name is empty between the commas`)
    return { name, role, host: host === name ? undefined : host, ips: [], sans: [] }
  })
}

/** As it is typed. */
export function formatWord({ name, host }: DraftNode): string {
  return host === undefined ? name : `${name}=${host}`
}

/** With init's own help. */
export function wrong(message: string) {
  return usage(message, 'init')
}
