/** `recover`: restores a lost auth/ from the nodes or from a backup. Nothing in auth/ is overwritten. */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, usageFailure } from '../../lib/failure.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import type { FileNames } from '../../lib/files/names.ts'
import { caName, crossName, kubeconfigFile } from '../../lib/files/names.ts'
import type { PlainFile } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target } from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { certificatePem } from '../../lib/pki/pem.ts'
import { formatReason, formatReasons, type Reason } from '../../lib/reason.ts'
import { count, foldAlike, formatDate, formatNames, groupAlike } from '../../lib/wording.ts'
import { readShown, type Shown } from '../nodes/component.ts'
import { lookAtPorts } from '../nodes/look.ts'
import { clusterGraph } from '../phases/table.ts'
import type { Writing } from '../request/job.ts'
import { usage } from '../request/options.ts'
import { checkNodes } from '../request/selection.ts'
import type { Request, Session } from '../request/session.ts'
import { closeFolder } from '../request/walk.ts'
import { caRotationFiles } from '../rotations/ca-state.ts'
import { tokenFiles } from '../rotations/service-account-state.ts'
import { nodeUnits } from '../tables/places.ts'
import {
  readFolder,
  readNodes,
  refuseDisagreement,
  refuseNothing,
  refuseOtherIdentity,
  refusePresent,
  refuseWrong,
  type Sources,
} from './recover-sources.ts'

/** Throws a usage Failure before anything is changed. */
export async function recover(request: Request): Promise<Writing> {
  const source = sourceOf(request)
  const { pathOf, signal } = request
  const graph = clusterGraph(request.cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  const read = async ({ run, limits }: Session): Promise<Sources> => {
    if (typeof source !== 'string') return readNodes(run, source, limits.node, signal)
    return {
      main: readFolder(pathOf(source), run.auth.files, [
        ...targets.flatMap(({ makes }) => makes),
        ...rotationFiles(run.auth.files),
      ]),
    }
  }
  return {
    ...(typeof source !== 'string' && { graph }),
    reporter: await request.reporterFor([], false),
    work: async (session) => {
      const taken = await checkFound(session.run, targets, await read(session))
      signal.throwIfAborted()
      take(session.run, taken)
      return { outcomes: new Map(), findings: [] }
    },
  }
}

/** The folder, or the control node. Throws a usage Failure unless there is exactly one. */
function sourceOf({ options: { nodes, from }, cluster }: Request): string | ClusterNode {
  const [name, ...more] = nodes
  if (more.length > 0 || (name === undefined) === (from === undefined))
    throw usage('recover needs one place to recover from: --node NAME or --from DIR', 'recover')
  if (from !== undefined) return from
  checkNodes(cluster, nodes)
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const node = controls.find((each) => each.name === name)
  if (node) return node
  throw usageFailure(
    `--node ${name}: no control node: only they hold the CA's key`,
    `one of: ${controls.map(({ name }) => name).join(', ')}`,
  )
}

/** Each file is complete or absent: this may be killed at any moment, and run again. */
function take({ auth, note }: Run, { files, notes }: Taken): void {
  closeFolder(auth, note)
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.write(name, bytes, auth.files.mode(name), { durable: true })
  const present = files.size - missing.length
  note(
    `${auth.path}: restored ${count(missing.length, 'file')}; ${present} ${present === 1 ? 'was' : 'were'} already present`,
  )
  for (const each of notes) note(each)
}

interface Taken {
  /** In writing order. */
  readonly files: ReadonlyMap<string, Buffer>
  readonly notes: readonly string[]
}

/** Files of auth/ besides those that targets make. A node has none of them. */
const rotationFiles = (files: FileNames) => [...caRotationFiles(files), tokenFiles(files).nextKey]

/** For checks, which only read. Its path is where the files come from, since messages name it. */
class FilesInMemory extends AuthDir {
  readonly #files: ReadonlyMap<string, Buffer>

  constructor(path: string, names: FileNames, files: ReadonlyMap<string, Buffer>) {
    super(path, names)
    this.#files = files
  }

  override read(name: string): PlainFile | undefined {
    const bytes = this.#files.get(name)
    return bytes && { kind: 'file', bytes, mode: this.files.mode(name), modified: 0 }
  }

  override names(folder = '.'): string[] {
    return folder === '.' ? [...this.#files.keys()] : []
  }
}

/** Throws a Failure if not all of it belongs to one cluster, or auth/ holds something else. */
async function checkFound(run: Run, targets: readonly Target[], sources: Sources): Promise<Taken> {
  const { main, nodes, node } = sources
  refuseNothing(run, main)
  const unread = [...main.unread].map(([file, why]): OfFile => [file, `${file} could not be read (${why})`])
  refuseWrong(run, main, describeWrong(run.auth, unread))
  refuseOtherIdentity(run, main)
  const files = gather(run, targets, sources)
  const found: Run = { ...run, auth: new FilesInMemory(main.where, run.auth.files, files) }
  const others = run.cluster.nodes.filter(({ role, name }) => role === 'control' && name !== node?.name)
  const holdings = others.flatMap(({ name }) => nodes?.get(name) ?? [])
  refuseDisagreement(found, main, holdings)
  const ca = tryCertificate(found.auth, caName)
  // While the next CA of a rotation signs, its leaves belong to this cluster as well.
  const cas = ca ? [ca, ...chainsIn(sources).filter(({ x509 }) => x509.verify(ca.publicKey))] : []
  const [names, wrong, remade]: [string[], OfFile[], OfFile[]] = [[], [], []]
  for (const part of groupAlike(targets, ({ makes: [file = ''] }) => run.auth.files.parse(file)?.name)) {
    const placed = holdingOf(sources, part[0])?.placed ?? new Set()
    const { files: own, wrong: why, remade: later } = await checkPart(found, part, { cas, placed })
    if (why.length === 0) {
      names.push(...own)
      remade.push(...later)
    } else if (part.every((target) => holdingOf(sources, target) === main)) wrong.push(...why)
    else remade.push([part[0].makes[0] ?? '', `not taken: ${why.map(([, text]) => text).join('; ')}`])
  }
  refuseWrong(run, main, describeWrong(run.auth, wrong))
  const served = node && (await describeServed(found, node, cas))
  refuseWrong(run, main, served?.foreign ?? [])
  const taken = inWritingOrder(run, names, files)
  refusePresent(run, main, taken)
  return {
    files: taken,
    notes: [...(served?.notes ?? []), ...describeRemade(run.auth, remade), `now: ${nextOf(run, ca)}`],
  }
}

/** What is no single node's is taken from another node only if the main one, by its role, has none of it. */
function holdingOf({ main, nodes }: Sources, { makes, node }: Pick<Target, 'makes' | 'node'>) {
  if (!nodes) return main
  if (node !== undefined) return nodes.get(node)
  return [main, ...nodes.values()].find(({ files }) => makes.some((name) => files.has(name))) ?? main
}

/** Files already in auth/ complete it; the pair of a client that is nowhere else is taken from its kubeconfig. */
function gather({ auth }: Run, targets: readonly Target[], sources: Sources): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  const add = (name: string, bytes: Buffer | undefined) => bytes && !files.has(name) && files.set(name, bytes)
  for (const target of [...targets, { makes: rotationFiles(auth.files), node: undefined }])
    for (const name of target.makes) add(name, holdingOf(sources, target)?.files.get(name) ?? auth.tryBytes(name))
  for (const [file, text] of [...files]) {
    const { kind, name = '' } = auth.files.parse(file) ?? {}
    if (kind !== 'kubeconfig' || auth.files.pair(name).every((each) => files.has(each))) continue
    const embedded = readEmbedded(text.toString())
    add(auth.files.certificate(name), embedded?.certificate)
    add(auth.files.key(name), embedded?.key)
  }
  // Once a rotation of the CA is finished, its cross certificate follows every leaf.
  const ca = readCertificate(files.get(auth.files.certificate(caName)) ?? '')
  const cross = chainsIn(sources).find(
    ({ publicKey, subject }) => ca?.publicKey.equals(publicKey) && ca.subject.equals(subject),
  )
  add(auth.files.certificate(crossName), cross && Buffer.from(certificatePem(cross.der)))
  return files
}

/** The certificates that follow leaves in their files, which are those of CAs. */
function chainsIn({ main }: Sources): Certificate[] {
  return [...main.files.values()].flatMap((bytes) => readCertificates(bytes).slice(1)).filter(({ isCa }) => isCa)
}

type OfFile = readonly [file: string, why: string]

interface Signed {
  readonly cas: readonly Certificate[]
  /** Files that were read where units read them. */
  readonly placed: ReadonlySet<string>
}

interface Checked {
  readonly files: readonly string[]
  /** Problems that no new file repairs. */
  readonly wrong: readonly OfFile[]
  /** Files that the next run makes. */
  readonly remade: readonly OfFile[]
}

/**
 * A certificate with its key and its kubeconfig, or another file: taken together or not at all. A CA that has expired, or is
 * to be reissued over its key, is still the cluster's: it is checked as for its renewal.
 */
async function checkPart(found: Run, part: readonly [Target, ...Target[]], signed: Signed): Promise<Checked> {
  const files = new Set(part.flatMap(({ makes }) => makes).filter((name) => found.auth.read(name)))
  if (files.size === 0 && !part[0].irreplaceable)
    return { files: [], wrong: [], remade: [[part[0].makes[0] ?? '', 'not found']] }
  const caFile = found.auth.files.certificate(caName)
  const [wrong, remade]: [OfFile[], OfFile[]] = [[], []]
  for (const target of part) {
    const [file = ''] = target.makes
    try {
      const { reasons } = await target.check(found, file === caFile && files.has(caFile) ? 'renew' : undefined)
      for (const why of reasons.flatMap((reason) => explainWrong(found, target, reason, signed) ?? []))
        wrong.push([file, why])
      if (reasons.length > 0) remade.push([file, formatReasons(reasons)])
      // A kubeconfig that differs from ours may name a program that kubectl would run here.
      if (reasons.some(({ kind }) => kind === 'content-changed')) files.delete(file)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      wrong.push([file, error.message])
    }
  }
  return { files: [...files], wrong, remade }
}

/** Undefined if the next run repairs it. */
function explainWrong(
  { auth }: Run,
  { makes: [file = ''], irreplaceable }: Target,
  reason: Reason,
  { cas, placed }: Signed,
) {
  const { name = '' } = auth.files.parse(file) ?? {}
  const own = tryCertificate(auth, name)
  switch (reason.kind) {
    case 'missing':
      return reason.path === kubeconfigFile(name) ? undefined : formatReason(reason)
    case 'unreadable':
    case 'key-mismatch':
      return formatReason(reason)
    case 'other-issuer':
      // Units read the key alone, so a rotation of the CA leaves its certificate there as it was. In auth/ it is issued again.
      if (placed.has(file) && irreplaceable === 'key') return undefined
      return cas.some(({ publicKey }) => own?.x509.verify(publicKey)) ? undefined : `${file} is not signed by this CA`
    case 'content-changed': {
      const pair = readEmbedded(String(auth.tryBytes(file)))
      // As that of a kubelet that gets its certificate from the cluster by itself: it is made again.
      if (!pair) return undefined
      const embedded = readCertificate(pair.certificate)
      const isOwn = own && embedded?.der.equals(own.der)
      return isOwn ? undefined : `${file} holds another pair than ${auth.files.certificate(name)}`
    }
    default:
      return undefined
  }
}

/**
 * A run that starts between two writes finds certificates without their CA, or a CA without its key, and makes nothing:
 * the first file is a certificate, and the last is the key of the CA.
 */
function inWritingOrder(
  { auth }: Run,
  names: readonly string[],
  files: ReadonlyMap<string, Buffer>,
): Map<string, Buffer> {
  const ofCa: string[] = auth.files.pair(caName)
  const all = [...names.filter((name) => !ofCa.includes(name)), ...rotationFiles(auth.files), ...ofCa]
  return new Map(all.filter((name) => files.has(name)).map((name) => [name, files.get(name) as Buffer]))
}

function describeWrong({ files }: AuthDir, wrong: readonly OfFile[]): string[] {
  const nameOf = ([file]: OfFile) => files.parse(file)?.name ?? file
  return foldAlike(wrong, nameOf, ([, why]) => why).map(({ group, shared }) => {
    const why = shared(group[0][1])
    return group.length === 1 ? why : `${formatNames(group.map(nameOf))}: ${why}`
  })
}

function describeRemade({ files }: AuthDir, remade: readonly OfFile[]): string[] {
  const nameOf = ([file]: OfFile) => files.parse(file)?.name ?? file
  return foldAlike(remade, nameOf, ([, why]) => why).map(
    ({ group, shared }) =>
      `made again by the next bootstrap: ${formatNames(group.map(([file]) => file))}: ${shared(group[0][1])}`,
  )
}

function nextOf({ command, now }: Run, ca: Certificate | undefined): string {
  const end = ca?.notAfter ?? now
  if (end > now) return command('bootstrap')
  return `${command('ca --renew')} (the CA expired on ${formatDate(end)}), then ${command('bootstrap')}`
}

interface Served {
  /** Served certificates that no CA of `cas` has signed. */
  readonly foreign: readonly string[]
  readonly notes: readonly string[]
}

/** In words, for the ports where the cluster's certificate belongs and a process listens. */
async function describeServed(found: Run, node: ClusterNode, cas: readonly Certificate[]): Promise<Served> {
  const { files } = found.auth
  const { api: name } = files.names
  const file = files.certificate(name)
  const units = nodeUnits(found.cluster, node)
  const ports = units.flatMap(({ serves }) => serves.filter((each) => each.name === name).map(({ port }) => port))
  const open = [...(await lookAtPorts(found, node, ports))]
  const served = await Promise.all(open.map((port) => readShown({ run: found }, node, port)))
  const isOurs = (der: Buffer) => cas.some(({ publicKey }) => new X509Certificate(der).verify(publicKey))
  const own = tryCertificate(found.auth, name)?.der
  const describe = (what: string, is: (each: Shown) => boolean) => {
    const some = open.filter((_, i) => is(served[i] ?? 'nothing'))
    const at = formatNames(some.map(String))
    return some.length > 0 ? [`${node.name}: what runs there on port ${at} serves ${what}`] : []
  }
  return {
    foreign: describe('a certificate that its CA did not sign', (each) => each !== 'nothing' && !isOurs(each)),
    notes: [
      ...describe(`another certificate of its CA than ${file}, which it has not loaded`, (each) =>
        each !== 'nothing' && isOurs(each) && own?.equals(each) === false),
      ...describe(`no certificate through ssh, to compare ${file} with`, (each) => each === 'nothing'),
    ],
  }
}
