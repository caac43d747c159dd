/** Phase `local-kubeconfig`: the admin's entry in the user's own kubeconfig. kubectl need not be installed. */
import { existsSync, statSync } from 'node:fs'
import { Failure, refusal } from '../../lib/failure.ts'
import { isStaleLock } from '../../lib/files/lock.ts'
import { replaceFile, secretMode } from '../../lib/files/plain-file.ts'
import { type KubeconfigFile, KubeconfigReader } from '../../lib/kubeconfig/files.ts'
import type { Access } from '../../lib/kubeconfig/kubeconfig.ts'
import { whileLocked } from '../../lib/kubeconfig/lock.ts'
import { applyChanges, type Change, isAsAsked, stanzasOf } from '../../lib/kubeconfig/merge.ts'
import type { Reason, Verdict } from '../../lib/reason.ts'
import type { Built, Foreseen, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { refuseConflicts, refuseOtherCa, refuseOtherContext, refuseOwnFiles } from '../refusals/local-kubeconfig.ts'
import type { CertRow } from '../tables/certs.ts'
import { hasAccess, readAccess } from './kubeconfigs.ts'

/** Of one run: what is unchanged is not parsed again. */
export function localWork({ user, ...names }: Pick<Access, 'cluster' | 'context' | 'user'>, admin: CertRow) {
  const access = (workspace: Workspace): Access => ({ ...readAccess(workspace, admin), context: names.context, user })
  const reader = new KubeconfigReader()
  return {
    check: (workspace: Workspace) =>
      check(workspace, reader, { ...names, access: hasAccess(workspace, admin) ? access(workspace) : undefined }),
    build: async (workspace: Workspace, { signal, reasons }: Work): Promise<Built> => {
      const change = changeOf(workspace, reasons)
      await build(workspace, reader, { access: access(workspace), signal })
      return { change }
    },
    foresee: (workspace: Workspace, { reasons }: Foreseen) => changeOf(workspace, reasons),
  }
}

/** What has to change, by the file that it has to change in. */
function plan(places: readonly KubeconfigFile[], access: Access): Map<KubeconfigFile, Change[]> {
  // A new entry and the current context go to the first file that exists, else to the last of the list.
  const target = places.find(({ file }) => file) ?? places.at(-1)
  const changes = new Map<KubeconfigFile, Change[]>()
  const add = (place: KubeconfigFile | undefined, change: Change) =>
    place && changes.set(place, [...(changes.get(place) ?? []), change])
  for (const stanza of stanzasOf(access)) {
    const place = places.find(({ content }) => content.find(stanza.list, stanza.name))
    if (!isAsAsked(place?.content.find(stanza.list, stanza.name), stanza)) add(place ?? target, stanza)
  }
  if (currentContextIn(places) !== access.context) add(target, { currentContext: access.context })
  return changes
}

/** The first that there is counts. */
function currentContextIn(places: readonly KubeconfigFile[]): string | undefined {
  return places.find(({ content }) => content.currentContext !== undefined)?.content.currentContext
}

interface Asked extends Pick<Access, 'cluster' | 'context'> {
  readonly access: Access | undefined
}

/** Where there is no reason of its own yet, the entries will be in the first file that exists, else in the last of the list. */
function changeOf({ kubeconfigs }: Workspace, reasons: readonly Reason[]): Built['change'] {
  if (reasons.every(({ kind }) => kind === 'locked')) return undefined
  const paths = kubeconfigs()
  const own = reasons.flatMap((reason) => ('path' in reason && reason.kind !== 'locked' ? [reason.path] : []))
  const likely = paths.find((path) => existsSync(path)) ?? paths.at(-1)
  const files = own.length > 0 ? own : likely === undefined ? [] : [likely]
  return { kind: 'made', files, isNew: !files.some((path) => existsSync(path)) }
}

/** In a dry run the admin's pair may not exist yet: then only conflicts are checked. */
function check(workspace: Workspace, reader: KubeconfigReader, asked: Asked): Verdict {
  const { access } = asked
  refuseOwnFiles(workspace)
  const locks = workspace.kubeconfigs().map((path) => `${path}.lock`)
  const lockedBy = (path: string): Verdict => ({ reasons: [{ kind: 'locked', path, isStale: path === left }] })
  const left = locks.find(isStaleLock)
  let places: KubeconfigFile[]
  try {
    places = reader.read(workspace.kubeconfigs())
  } catch (error) {
    // It may be half written: checked again once we hold the lock.
    const held = error instanceof Failure ? (left ?? locks.find((path) => existsSync(path))) : undefined
    if (held === undefined) throw error
    return lockedBy(held)
  }
  refuseOtherContext(places, asked)
  refuseOtherCa(places, workspace)
  if (access) refuseConflicts(places, access)
  if (left !== undefined) return lockedBy(left)
  if (!access) return { reasons: [] }
  const changes = plan(places, access)
  for (const [place, list] of changes) changedText(place, list)
  const reasons = [...changes].map(
    ([{ path, file }, list]): Reason =>
      file
        ? {
            kind: 'content-changed',
            path,
            what: list.map((change) => formatChange(change, path, currentContextIn(places))),
          }
        : { kind: 'missing', path },
  )
  const modes = places.flatMap((place): Reason[] => {
    const was = openMode(place, access)
    return was === undefined ? [] : [{ kind: 'wrong-mode', path: place.real, was, asked: secretMode }]
  })
  return { reasons: [...reasons, ...modes] }
}

/** The mode of a file that lets others read our key; a file without it is for the user to show to whom he wants. */
function openMode({ file, content }: KubeconfigFile, { user }: Access): number | undefined {
  const isOpen = file?.kind === 'file' && (file.mode & 0o077) !== 0
  return isOpen && content.find('users', user) ? file.mode : undefined
}

function formatChange(change: Change, path: string, current = ''): string {
  if ('currentContext' in change) return `current-context${current && ` (was ${current})`} in ${path}`
  return `${change.key} ${change.name} in ${path}`
}

interface Writing {
  readonly access: Access
  readonly signal: AbortSignal
}

async function build(workspace: Workspace, reader: KubeconfigReader, { access, signal }: Writing): Promise<undefined> {
  await whileLocked(workspace.kubeconfigs(), { signal, onWait: workspace.note }, () => {
    // Read again under the lock.
    const places = reader.read(workspace.kubeconfigs())
    refuseOtherContext(places, access)
    refuseOtherCa(places, workspace)
    refuseConflicts(places, access)
    const changes = plan(places, access)
    for (const place of places) {
      const list = changes.get(place) ?? []
      if (list.length > 0 || openMode(place, access) !== undefined) write(place, list)
    }
  })
}

/** Throws a refusal where it can't be had without touching what is not ours. */
function changedText({ path, text }: KubeconfigFile, changes: readonly Change[]): string {
  const changed = applyChanges(text, changes)
  if (changed !== undefined) return changed
  throw refusal(`${path} can't be changed without touching entries that are not ours`, [
    'take its YAML anchors out: kubectl config view --raw writes it plainly',
    'or set localKubeconfig.path in cluster.yaml',
  ])
}

function write(place: KubeconfigFile, changes: readonly Change[]): void {
  const { real, file } = place
  const changed = changedText(place, changes)
  const copy = `${real}.before-harderway`
  // As root with the user's HOME: it stays the user's.
  const owner = file ? statSync(real) : undefined
  if (file && changes.length > 0 && !existsSync(copy))
    replaceFile(copy, file.kind === 'file' ? file.bytes : '', secretMode, { durable: true, owner })
  replaceFile(real, changed, secretMode, { durable: true, owner })
}
