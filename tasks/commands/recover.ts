/**
 * `recover`: restores what can't be made again of a lost auth/, from a control node or from a backup; of a backup, everything
 * that is fresh. The next run issues the rest anew. Nothing in auth/ is overwritten.
 */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, tryToAwait, usageFailure } from '../../lib/failure.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { caName, crossName, type FileNames } from '../../lib/files/names.ts'
import type { PlainFile } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target } from '../../lib/graph/target.ts'
import { type Certificate, readCertificates } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { certificatePem } from '../../lib/pki/pem.ts'
import { formatReason, type Reason } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { readShown } from '../nodes/component.ts'
import { lookAtMachine } from '../nodes/look.ts'
import { clusterGraph } from '../phases/table.ts'
import { writeAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import { pathOf } from '../request/host.ts'
import type { Finding } from '../request/job.ts'
import { usage } from '../request/options.ts'
import { checkNodes } from '../request/selection.ts'
import { closeFolder } from '../request/walk.ts'
import { caRotationFiles } from '../rotations/ca-state.ts'
import { tokenFiles } from '../rotations/service-account-state.ts'
import { identityFiles } from '../tables/files.ts'
import { nodeUnits } from '../tables/places.ts'
import {
  type Holding,
  readFolder,
  readNodes,
  refuseDisagreement,
  refuseNothing,
  refusePresent,
  refuseWrong,
  type Sources,
} from './recover-sources.ts'

/** Throws a usage Failure before anything is changed. */
export async function recover(given: CommandRun): Promise<readonly Finding[]> {
  const source = sourceOf(given)
  const { host, limits, signal } = given
  const graph = clusterGraph(given.cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  return writeAuth(given, {
    ...(typeof source !== 'string' && { graph }),
    reporter: await given.reporterFor(new Map(), false),
    work: async (run) => {
      const names = () => [...targets.flatMap(({ makes }) => makes), ...identityNames(run)]
      const sources =
        typeof source === 'string'
          ? { main: readFolder(pathOf(host, source), run.auth.files, names()), others: [] }
          : await readNodes(run, source, limits.node, signal)
      const { files, next } = await checkFound(run, targets, sources)
      signal.throwIfAborted()
      take(run, files)
      run.note(`now: ${next}`)
      return { outcomes: new Map(), findings: [] }
    },
  })
}

/** The folder, or the control node. Throws a usage Failure unless there is exactly one. */
function sourceOf({ options: { nodes, from }, cluster }: CommandRun): string | ClusterNode {
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

/**
 * What is restored, in writing order. A run that starts between two writes finds a certificate without its CA, or a CA without its
 * key, and makes nothing: the first file is a certificate, and the last is the key of the CA. No node has the files of a rotation.
 */
function identityNames({ auth: { files }, cluster }: Run): string[] {
  const ofCa: string[] = files.pair(caName)
  const identity = [...identityFiles(cluster).keys()].filter((name) => !ofCa.includes(name))
  return [...identity, tokenFiles(files).nextKey, ...caRotationFiles(files), ...ofCa]
}

/** Each file is complete or absent: this may be killed at any moment, and run again. */
function take({ auth, note }: Run, files: ReadonlyMap<string, Buffer>): void {
  closeFolder(auth, note)
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.write(name, bytes, auth.files.mode(name), { durable: true })
  const restored =
    missing.length > 0 ? `restored ${formatNames(missing.map(([name]) => name).toReversed())}` : 'nothing to restore'
  note(`${auth.path}: ${restored}`)
}

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

/** What to take, in writing order, and what to say then. Throws a Failure if not all of it is of one cluster. */
async function checkFound(run: Run, targets: readonly Target[], { main, others, node }: Sources) {
  refuseNothing(run, main)
  const unread = [...main.unread].map(([file, why]) => `${file} could not be read (${why})`)
  refuseWrong(run, main, unread)
  const identity = identityNames(run)
  refusePresent(run, main, identity)
  const files = new Map(main.files)
  // Files already in auth/ complete what was found.
  for (const name of identity) {
    const bytes = files.get(name) ?? run.auth.tryBytes(name)
    if (bytes) files.set(name, bytes)
  }
  const found: Run = { ...run, auth: new FilesInMemory(main.where, run.auth.files, files) }
  addCross(files, found.auth)
  refuseDisagreement(found, main, others)
  const ca = tryCertificate(found.auth, caName)
  // While the next CA of a rotation signs, its leaves belong to this cluster as well.
  const cas = ca ? [ca, ...chainsIn(files, run.auth.files).filter(({ x509 }) => x509.verify(ca.publicKey))] : []
  const identityTargets = targets.filter(({ irreplaceable }) => irreplaceable)
  const wrong = await Promise.all(identityTargets.map((target) => findWrong(found, target, cas, main)))
  refuseWrong(run, main, wrong.flat())
  refuseWrong(run, main, node ? await findForeign(found, node, cas) : [])
  const fresh = node ? [] : await findFresh(found, targets)
  const taken = [...fresh, ...identity].flatMap((name): [string, Buffer][] => {
    const bytes = files.get(name)
    return bytes ? [[name, bytes]] : []
  })
  return { files: new Map(taken), next: nextOf(run, ca) }
}

/** Once a rotation of the CA is finished, its cross certificate follows every leaf. */
function addCross(files: Map<string, Buffer>, found: AuthDir): void {
  const ca = tryCertificate(found, caName)
  const cross = chainsIn(files, found.files).find(
    ({ publicKey, subject }) => ca?.publicKey.equals(publicKey) && ca.subject.equals(subject),
  )
  if (cross) files.set(found.files.certificate(crossName), Buffer.from(certificatePem(cross.der)))
}

/** The cross certificate, and what follows leaves in their files: the certificates of CAs. */
function chainsIn(files: ReadonlyMap<string, Buffer>, names: FileNames): Certificate[] {
  const cross = readCertificates(files.get(names.certificate(crossName)) ?? '')
  const chains = [...files.values()].flatMap((bytes) => readCertificates(bytes).slice(1))
  return [...cross, ...chains].filter(({ isCa }) => isCa)
}

/**
 * What no new certificate repairs. A CA that has expired, or is to be reissued over its key, is still the cluster's: it is
 * checked as for its renewal.
 */
async function findWrong(found: Run, target: Target, cas: readonly Certificate[], main: Holding): Promise<string[]> {
  const [file = ''] = target.makes
  const isCa = file === found.auth.files.certificate(caName) && found.auth.read(file)
  const own = tryCertificate(found.auth, found.auth.files.parse(file)?.name ?? '')
  // Units read the key alone, so a rotation of the CA leaves its certificate there as it was. In auth/ it is issued again.
  const isForeign = !main.placed.has(file) && !cas.some(({ publicKey }) => own?.x509.verify(publicKey))
  const explain = (reason: Reason) => {
    if (reason.kind === 'other-issuer') return isForeign ? [`${file} is not signed by this CA`] : []
    return ['missing', 'unreadable', 'key-mismatch'].includes(reason.kind) ? [formatReason(reason)] : []
  }
  try {
    return (await target.check(found, isCa ? 'renew' : undefined)).reasons.flatMap(explain)
  } catch (error) {
    if (error instanceof Failure) return [error.message]
    throw error
  }
}

/** Of a backup, also the files that a run would not touch. Any other kubeconfig may name a program that kubectl would run here. */
async function findFresh(found: Run, targets: readonly Target[]): Promise<string[]> {
  const leaves = targets.filter(({ irreplaceable }) => !irreplaceable)
  const looks = await Promise.all(leaves.map((target) => tryToAwait(async () => await target.check(found))))
  return leaves.flatMap(({ makes }, i) => (looks[i]?.reasons.length === 0 ? makes : []))
}

function nextOf({ command, now }: Run, ca: Certificate | undefined): string {
  const isExpired = ca && ca.notAfter <= now
  const renew = isExpired ? `${command('ca --renew')} (the CA expired on ${formatDate(ca.notAfter)}), then ` : ''
  return `${renew}${command('bootstrap')}, which issues what is not there yet`
}

/** In words: what is served by no CA of `cas`, on the ports where the cluster's certificate belongs. */
async function findForeign(found: Run, node: ClusterNode, cas: readonly Certificate[]): Promise<string[]> {
  const { api: name } = found.auth.files.names
  const units = nodeUnits(found.cluster, node)
  const ports = units.flatMap(({ serves }) => serves.filter((each) => each.name === name).map(({ port }) => port))
  const open = [...(await lookAtMachine(found, node, ports)).ports]
  const served = await Promise.all(open.map((port) => readShown({ run: found }, node, port)))
  const isOurs = (der: Buffer) => cas.some(({ publicKey }) => new X509Certificate(der).verify(publicKey))
  const foreign = open.filter((_, i) => {
    const shown = served[i] ?? 'nothing'
    return shown !== 'nothing' && !isOurs(shown)
  })
  const at = formatNames(foreign.map(String))
  return foreign.length > 0
    ? [`${node.name}: what runs there on port ${at} serves a certificate that its CA did not sign`]
    : []
}
