/** What was found, as the auth/ that it would be: its targets check it as every run checks auth/. Writes nothing. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { certificatePem } from '../../../lib/der/pem.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import {
  caName,
  certificateFile,
  crossName,
  fileMode,
  keyFile,
  kubeconfigFile,
  nextName,
  pairFiles,
  parseFileName,
} from '../../../lib/files/names.ts'
import type { PlainFile } from '../../../lib/files/plain-file.ts'
import { caRotationFiles } from '../../../lib/identity/rotation.ts'
import { readEmbedded } from '../../../lib/kubeconfig/kubeconfig.ts'
import { type Certificate, readCertificate, readCertificates } from '../../../lib/pki/certificate.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { formatReason, formatReasons, type Reason } from '../../../lib/reason.ts'
import type { Target } from '../../../lib/targets/target.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatDate, formatNames, groupAlike } from '../../../lib/wording.ts'
import { clusterCerts } from '../../tables/certs.ts'
import type { Holding } from './holding.ts'
import { refuseDisagreement, refuseNothing, refusePresent, refuseWrong } from './refusals.ts'
import { describeServed } from './served.ts'

export interface Sources {
  /** What has all that is no node's own. */
  readonly main: Holding
  /** What has the files of that node; undefined where it could not be looked at. */
  readonly ofNode: (name: string) => Holding | undefined
  /** The other control nodes. */
  readonly others: readonly Holding[]
  /** The node that `main` is. */
  readonly node?: ClusterNode
}

export interface Whole {
  /** In the order in which they are to be written. */
  readonly files: ReadonlyMap<string, Buffer>
  readonly notes: readonly string[]
  /** What to type next. */
  readonly next: string
}

/** Of auth/, beside what targets make. A node has none of them. */
export const rotationFiles: readonly string[] = [
  ...caRotationFiles,
  ...clusterCerts.flatMap(({ name, irreplaceable }) =>
    irreplaceable && name !== caName ? [keyFile(nextName(name))] : [],
  ),
]

/** The path is where the files are from: checks name it. */
class FilesInMemory extends AuthDir {
  readonly #files: ReadonlyMap<string, Buffer>

  constructor(path: string, files: ReadonlyMap<string, Buffer>) {
    super(path)
    this.#files = files
  }

  override read(name: string): PlainFile | undefined {
    const bytes = this.#files.get(name)
    return bytes && { kind: 'file', bytes, mode: fileMode(name), modified: 0 }
  }

  override names(folder = '.'): string[] {
    return folder === '.' ? [...this.#files.keys()].sort() : []
  }
}

/** Throws a Failure where not all of it is one cluster's, or auth/ holds something else. */
export async function checkFound(
  workspace: Workspace,
  targets: readonly Target[],
  { main, ofNode, others, node }: Sources,
): Promise<Whole> {
  refuseNothing(workspace, main)
  refuseWrong(
    workspace,
    main,
    [...main.unread].map(([name, why]) => `${name} could not be read (${why})`),
  )
  const sourceOf = (target: Target) => (target.node === undefined ? main : ofNode(target.node))
  const files = gather(workspace, targets, sourceOf, main)
  const found: Workspace = { ...workspace, auth: new FilesInMemory(main.where, files) }
  refuseDisagreement(found, main, others)
  const cas = casOf(found, main)
  const parts: Part[] = []
  for (const some of groupAlike(targets, ({ makes: [file = ''] }) => parseFileName(file)?.name))
    parts.push(await checkPart(found, some, cas))
  const wrong = parts.filter((part) => part.wrong.length > 0)
  const isOfMain = ({ targets: [first] }: Part) => sourceOf(first) === main
  refuseWrong(
    workspace,
    main,
    wrong.filter(isOfMain).flatMap((part) => part.wrong),
  )
  const served = node ? await describeServed(found, node, main.listening, cas) : new Map()
  const foreign = served.get('foreign')
  refuseWrong(workspace, main, foreign === undefined ? [] : [foreign])
  const taken = inWritingOrder(
    parts.filter((part) => part.wrong.length === 0),
    files,
  )
  refusePresent(workspace, main, taken)
  const notTaken = wrong.map(
    ({ wrong, targets: [{ node }] }) => `${node}: not taken, and made anew by the next bootstrap: ${wrong.join('; ')}`,
  )
  return {
    files: taken,
    notes: [...served.values(), ...notTaken, ...describeAbsent(parts), ...describeStale(parts)],
    next: nextOf(found),
  }
}

/** What is in auth/ already completes it; the pair of a client that is nowhere else is taken out of its kubeconfig. */
function gather(
  { auth }: Workspace,
  targets: readonly Target[],
  sourceOf: (target: Target) => Holding | undefined,
  main: Holding,
): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  const add = (name: string, bytes: Buffer | undefined) => bytes && !files.has(name) && files.set(name, bytes)
  const addFrom = (holding: Holding | undefined, names: readonly string[]) => {
    for (const name of names) add(name, holding?.files.get(name) ?? auth.tryBytes(name))
  }
  for (const target of targets) addFrom(sourceOf(target), target.makes)
  addFrom(main, rotationFiles)
  for (const [file, text] of [...files]) {
    const { kind, name = '' } = parseFileName(file) ?? {}
    if (kind !== 'kubeconfig' || pairFiles(name).every((each) => files.has(each))) continue
    const embedded = readEmbedded(text.toString())
    add(certificateFile(name), embedded?.certificate)
    add(keyFile(name), embedded?.key)
  }
  // Once a rotation of the CA is finished, its cross certificate follows every leaf.
  const ca = readCertificate(files.get(certificateFile(caName)) ?? '')
  const cross =
    ca && chainsIn(main).find(({ publicKey, subject }) => publicKey.equals(ca.publicKey) && subject.equals(ca.subject))
  add(certificateFile(crossName), cross && Buffer.from(certificatePem(cross.der)))
  return files
}

/** Of CAs: what follows leaves in their files. */
function chainsIn({ files }: Holding): Certificate[] {
  return [...files.values()].flatMap((bytes) => readCertificates(bytes).slice(1)).filter(({ isCa }) => isCa)
}

/** Ours, and those that it leads to: while the next CA of a rotation signs, its leaves are ours as well. */
function casOf({ auth }: Workspace, main: Holding): Certificate[] {
  const ca = tryCertificate(auth, caName)
  return ca ? [ca, ...chainsIn(main).filter(({ x509 }) => x509.verify(ca.publicKey))] : []
}

/** A certificate with its key and its kubeconfig, or another file: taken together or not at all. */
interface Part {
  readonly targets: readonly [Target, ...Target[]]
  readonly files: readonly string[]
  /** In words: what no new file repairs. */
  readonly wrong: readonly string[]
  /** What the next run makes anew. */
  readonly stale: readonly { readonly file: string; readonly why: string }[]
}

async function checkPart(found: Workspace, targets: Part['targets'], cas: readonly Certificate[]): Promise<Part> {
  const makes = targets.flatMap((target) => target.makes)
  const files = new Set(makes.filter((name) => found.auth.read(name)))
  const wrong: string[] = []
  const stale: Part['stale'][number][] = []
  const isAbsent = files.size === 0 && targets.every(({ irreplaceable }) => irreplaceable === undefined)
  for (const target of isAbsent ? [] : targets) {
    const [file = ''] = target.makes
    const { reasons, refused = [] } = await check(found, target)
    wrong.push(...refused)
    const unrepairable = reasons.flatMap((reason) => explainWrong(found, file, reason, cas) ?? [])
    wrong.push(...unrepairable)
    if (unrepairable.length === 0 && reasons.length > 0) stale.push({ file, why: formatReasons(reasons) })
    // A kubeconfig that differs from ours may name a program that kubectl would run here.
    if (reasons.some(({ kind }) => kind === 'content-changed')) files.delete(file)
  }
  return { targets, files: [...files], wrong, stale }
}

async function check(found: Workspace, target: Target): Promise<{ reasons: readonly Reason[]; refused?: string[] }> {
  // A CA that has expired, or that is to be renewed, is that of the cluster all the same.
  const force = target.id === caName && found.auth.read(certificateFile(caName)) ? 'renew' : undefined
  try {
    return { reasons: (await target.check(found, force)).reasons }
  } catch (error) {
    if (error instanceof Failure) return { reasons: [], refused: [error.message] }
    throw error
  }
}

/** Undefined where the next run repairs it. */
function explainWrong(
  { auth }: Workspace,
  file: string,
  reason: Reason,
  cas: readonly Certificate[],
): string | undefined {
  const { name = '' } = parseFileName(file) ?? {}
  const own = tryCertificate(auth, name)
  switch (reason.kind) {
    case 'missing':
      return reason.path === kubeconfigFile(name) ? undefined : formatReason(reason)
    case 'unreadable':
    case 'key-mismatch':
      return formatReason(reason)
    case 'other-issuer':
      return cas.some(({ publicKey }) => own?.x509.verify(publicKey)) ? undefined : `${file} is not signed by this CA`
    case 'content-changed': {
      const embedded = readEmbedded(String(auth.tryBytes(file)))?.certificate
      const isOwn = embedded && own && readCertificate(embedded)?.der.equals(own.der)
      return isOwn ? undefined : `${file} holds another pair than ${certificateFile(name)}`
    }
    default:
      return undefined
  }
}

/**
 * A run that comes between two of them finds certificates without their CA, or a CA without its key, and makes nothing:
 * the first file is a certificate, and the last is the key of the CA.
 */
function inWritingOrder(parts: readonly Part[], files: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const others = parts.filter(({ targets: [{ id }] }) => id !== caName).flatMap((part) => part.files)
  const names = [...others, ...rotationFiles, ...pairFiles(caName)]
  return new Map(names.filter((name) => files.has(name)).map((name) => [name, files.get(name) as Buffer]))
}

function describeAbsent(parts: readonly Part[]): string[] {
  const absent = parts.filter(({ files, wrong }) => files.length + wrong.length === 0)
  const names = absent.flatMap(({ targets: [{ makes }] }) => makes.slice(0, 1))
  return names.length > 0 ? [`not found, and made anew by the next bootstrap: ${formatNames(names)}`] : []
}

function describeStale(parts: readonly Part[]): string[] {
  const stale = parts.flatMap((part) => (part.wrong.length > 0 ? [] : part.stale))
  return groupAlike(stale, ({ why }) => why).map(
    (group) => `made anew by the next bootstrap: ${formatNames(group.map(({ file }) => file))}: ${group[0].why}`,
  )
}

function nextOf({ auth, command, now }: Workspace): string {
  const end = tryCertificate(auth, caName)?.notAfter ?? now
  if (end > now) return command('bootstrap')
  return `${command('ca --renew')} (the CA expired on ${formatDate(end)}), then ${command('bootstrap')}`
}
