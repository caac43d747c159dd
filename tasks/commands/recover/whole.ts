/** What was found, as the whole of an auth/: what of it is taken, in which order, and what to say of the rest. */
import { caName, certificateFile, keyFile, kubeconfigFile } from '../../../lib/files/names.ts'
import { formatReasons } from '../../../lib/reason.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatDate, formatNames, groupAlike } from '../../../lib/wording.ts'
import { certTable } from '../../tables/certs.ts'
import { encryptionConfig } from '../../tables/files.ts'
import type { Holding } from './holding.ts'
import { type Asked, certificateOf, filesOf, findMisfits, findStale, type Part, partOf } from './part.ts'
import {
  refuseEncryptionConfig,
  refuseForeign,
  refuseMisfits,
  refuseNothing,
  refuseOtherCluster,
  refusePresent,
  refuseUnread,
} from './refusals.ts'
import { crossesOf, readRotations, rotationFilesOf } from './rotation.ts'
import { describeShown, foreignPorts, type ShownByPort, servedName } from './served.ts'

export interface Sources {
  /** What has all that is no node's own. */
  readonly main: Holding
  /** A node's own files are from there. */
  readonly ofNode: (node: string) => Holding
  /** What runs where `main` is from. */
  readonly shown: ShownByPort
}

export interface Whole {
  /** In the order in which they are to be written. */
  readonly files: ReadonlyMap<string, Buffer>
  readonly notes: readonly string[]
  /** What to type next. */
  readonly next: string
}

/** Throws a Failure where not all of it is one cluster's, or auth/ holds something else. Writes nothing. */
export function assemble(workspace: Workspace, { main, ofNode, shown }: Sources): Whole {
  refuseNothing(workspace, main)
  refuseUnread(workspace, main)
  const present = (file: string) => workspace.auth.tryBytes(file)
  const parts = certTable(workspace.cluster).map((row) => partOf(row, row.node ? ofNode(row.node) : main, present))
  const ca = parts.find(({ row }) => row.name === caName) as Part
  const misfits = new Map(
    parts
      .filter(({ row, files }) => files.size > 0 || row.irreplaceable)
      .map((part) => [part, findMisfits(part, certificateOf(ca))]),
  )
  const left = rotationFilesOf(main, certificateOf(ca))
  const read = (file: string) => left.get(file) ?? ca.files.get(file) ?? main.files.get(file) ?? present(file)
  const { rotation, unclear } = readRotations(read, workspace.now)
  refuseMisfits(workspace, main, [
    ...[...misfits].flatMap(([{ where }, wrong]) => (where === main.where ? wrong : [])),
    ...unclear,
  ])
  const own = certificateOf(ca)
  refuseForeign(workspace, main, foreignPorts(shown, own ? [own, ...crossesOf(main, own)] : []))
  const sealed = main.files.get(encryptionConfig.file) ?? present(encryptionConfig.file)
  refuseEncryptionConfig(workspace, main, sealed)
  const taken = parts.filter((part) => misfits.get(part)?.length === 0)
  const asked: Asked = { cluster: workspace.cluster, now: workspace.now, rotation, read }
  refuseOtherCluster(main, taken, asked)
  const files = inWritingOrder(
    taken.map((part) => withoutOtherKubeconfig(part, asked)),
    left,
    sealed,
  )
  refusePresent(workspace, main, files)
  const wrong = [...misfits].filter(([, wrong]) => wrong.length > 0)
  const served = parts.find(({ row }) => row.name === servedName)
  const notes = [
    ...describeShown(shown, main, served && certificateOf(served)),
    ...wrong.map(
      ([{ where }, wrong]) => `${where}: not taken, and made anew by the next bootstrap: ${wrong.join('; ')}`,
    ),
    ...describeAbsent(parts.filter((part) => !misfits.has(part))),
    ...describeStale(ca, taken, asked),
  ]
  return { files, notes, next: nextOf(workspace, ca) }
}

/** One that says more or something else than ours may name a program that kubectl would run here: the next run writes it. */
function withoutOtherKubeconfig(part: Part, asked: Asked): Part {
  if (findStale(part, asked).every(({ kind }) => kind !== 'content-changed')) return part
  const name = kubeconfigFile(part.row.name)
  return { ...part, files: new Map([...part.files].filter(([file]) => file !== name)) }
}

/**
 * A run that comes between two of them finds certificates without their CA, or a CA without its key, and makes nothing:
 * the first file is a certificate, and the last is the key of the CA.
 */
function inWritingOrder(
  parts: readonly Part[],
  left: ReadonlyMap<string, Buffer>,
  sealed: Buffer | undefined,
): Map<string, Buffer> {
  const found = new Map([...left, ...parts.flatMap(({ files }) => [...files])])
  if (sealed) found.set(encryptionConfig.file, sealed)
  const leaves = parts.filter(({ row }) => row.name !== caName).flatMap(({ row }) => filesOf(row))
  const names = [...leaves, encryptionConfig.file, ...left.keys(), certificateFile(caName), keyFile(caName)]
  return new Map(names.filter((name) => found.has(name)).map((name) => [name, found.get(name) as Buffer]))
}

function describeAbsent(parts: readonly Part[]): string[] {
  if (parts.length === 0) return []
  return [
    `not found, and made anew by the next bootstrap: ${formatNames(parts.map(({ row }) => certificateFile(row.name)))}`,
  ]
}

/** It fits, but is not, or no longer, what cluster.yaml asks for. */
function describeStale(ca: Part, parts: readonly Part[], asked: Asked): string[] {
  const stale = parts.flatMap((part) => {
    const reasons = part === ca ? [] : findStale(part, asked)
    return reasons.length > 0 ? [{ name: certificateFile(part.row.name), why: formatReasons(reasons) }] : []
  })
  return groupAlike(stale, ({ why }) => why).map(
    (group) => `made anew by the next bootstrap: ${formatNames(group.map(({ name }) => name))}: ${group[0].why}`,
  )
}

function nextOf({ command, now }: Workspace, ca: Part): string {
  const end = certificateOf(ca)?.notAfter ?? now
  if (end > now) return command('bootstrap')
  return `${command('ca --renew')} (the CA expired on ${formatDate(end)}), then ${command('bootstrap')}`
}
