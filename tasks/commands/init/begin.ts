/** The draft of a cluster.yaml as the command line and an auth/ that is there have it. Reads only. */
import { accessSync, constants, statSync } from 'node:fs'
import { basename, isAbsolute, relative } from 'node:path'
import { doing, usageFailure } from '../../../lib/failure.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import { adopt } from './adoption.ts'
import { type Asked, wrong } from './asked.ts'
import { type Draft, type DraftNode, newDraft } from './draft.ts'

/** Throws a usage Failure. */
export function beginDraft(asked: Asked): Draft {
  const adopted = adopt(asked.auth)
  if (!adopted && asked.from !== undefined)
    throw usageFailure(`--from ${asked.from}: no ${certificateFile(caName)} that can be read is in there`)
  const name = asked.name ?? adopted?.name ?? asked.folderName
  if (name === undefined) throw wrong(`the folder's name, ${basename(asked.folder)}, is no DNS name: give --name`)
  const draft = adopted ?? newDraft(name)
  const nodes = mergeNodes(draft.nodes, asked.nodes)
  if (nodes.length === 0) throw wrong('no node is named: give --control a,b,c --worker d,e')
  return {
    ...draft,
    name,
    api: { ...draft.api, virtualIP: asked.virtualIP ?? draft.api.virtualIP },
    ssh: { ...draft.ssh, user: asked.user ?? draft.ssh.user, configFile: configFile(asked) },
    nodes,
  }
}

/** A node's role is in no certificate: where it is named, that is right. A gateway has none. */
function mergeNodes(known: readonly DraftNode[], asked: readonly DraftNode[]): DraftNode[] {
  const named = (name: string) => asked.find((node) => node.name === name)
  return [
    ...known.map((node) => ({ ...node, host: named(node.name)?.host, role: named(node.name)?.role ?? node.role })),
    ...asked.filter(({ name }) => known.every((node) => node.name !== name)),
  ]
}

/** Relative where it is inside the folder, so that both can be moved together. */
function configFile({ folder, sshConfig }: Asked): string | undefined {
  if (sshConfig === undefined) return undefined
  doing('read', sshConfig, () => accessSync(sshConfig, constants.R_OK), 'usage')
  if (!statSync(sshConfig).isFile()) throw usageFailure(`--ssh-config ${sshConfig} is not a plain file`)
  const path = relative(folder, sshConfig)
  return path.startsWith('..') || isAbsolute(path) ? sshConfig : `./${path}`
}
