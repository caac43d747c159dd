/** `recover`: restores a lost auth/ from a control node or a backup, and overwrites nothing. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { asFailure, Failure, refusal, runAgain, tryToAwait, usageFailure } from '../../lib/failure.ts'
import {
  type AuthDir,
  authorizationConfigFile,
  backupTime,
  caName,
  caNames,
  copyBackups,
  crossName,
  etcdCaName,
  type FileNames,
  MemoryAuthDir,
  markersIn,
} from '../../lib/files/auth-dir.ts'
import { isInside, publicMode } from '../../lib/files/plain-file.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { certificatePem } from '../../lib/pki/encoding.ts'
import { readPair, tryCertificate, wrongIn } from '../../lib/pki/pair.ts'
import { isRepair, type Verb } from '../../lib/results.ts'
import { formatNames, quote } from '../../lib/wording.ts'
import { caRotationFiles, caState, isTwin, recoverCommand, tokenFiles, tokenState } from '../auth/states.ts'
import { phases } from '../bootstrap.ts'
import { type ClusterTarget, clusterGraph, type Run } from '../cluster-target.ts'
import { waysOutOfOlder } from '../deploy/guards.ts'
import { type FileOnNode, filesOn, isOtherIdentity, type Owner, ownerOf, whyNotCompared } from '../deploy/owner.ts'
import { lookAtNode, type NodeLook, placesOf, readNode, withList, withPlaces } from '../inspect/look.ts'
import { controlsOf, identityFiles, isKeptOff, nodeFiles } from '../layouts/tables.ts'
import { refuseSharedEtcd } from '../phases/ca.ts'
import { type CommandRun, checkConfigFile, makePrivate, openAuth, writeAuth } from '../run/command-run.ts'
import { type ExitCause, exitStatus, pathOf } from '../run/host.ts'
import { checkNodes, usage } from '../run/options.ts'

export async function recover(given: CommandRun): Promise<readonly ExitCause[]> {
  const source = namedSource(given)
  const graph = await clusterGraph(phases, given.cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  if (given.options.dryRun) {
    checkConfigFile(given, graph)
    return tryOut(given, source, targets)
  }
  return writeAuth(given, {
    ...(typeof source !== 'string' && { graph }),
    reporter: await given.reporterFor(new Map(), false),
    work: async (run) => {
      await restore(run, source, targets)
      return { causes: [] }
    },
  })
}

/** As if auth/ were lost, in memory. Then each control node is asked whether its identity is that of the backup. */
async function tryOut(
  given: CommandRun,
  source: string | ClusterNode,
  targets: readonly ClusterTarget[],
): Promise<ExitCause[]> {
  const { auth, cluster, endedStatus, limits, signal } = given
  const started = performance.now()
  const reporter = await given.reporterFor(new Map(), false)
  const inMemory = new MemoryAuthDir(auth.path, auth.files)
  const run: CommandRun = { ...given, auth: inMemory, note: reporter.note }
  const results = await Promise.allSettled([restore(run, source, targets)])
  if (typeof source === 'string' && inMemory.hasFiles()) {
    const controls = controlsOf(cluster)
    const compared = controls.map((node) =>
      limits.node(() => compareNode(run, source, node).finally(() => run.disconnect(node))),
    )
    results.push(...(await Promise.allSettled(compared)))
  }
  const failures = results.flatMap((result) => (result.status === 'rejected' ? asFailure(result.reason) : []))
  if (!signal.aborted) for (const failure of failures) reporter.problem(failure)
  const causes = failures.map(({ kind }) => kind)
  const seconds = (performance.now() - started) / 1000
  await reporter.end({ rows: new Map(), seconds, exit: exitStatus(causes, endedStatus()) })
  return causes
}

/** Throws a refusal if the identity on the node is not the one that was taken from the backup. */
async function compareNode(run: CommandRun, from: string, node: ClusterNode): Promise<void> {
  const { auth, cluster, note } = run
  const look = await lookAtNode(withPlaces(run, node.user === 'root' ? '' : 'sudo -n'), node)
  if (cluster.install) placesOf(look)
  const all = filesOn(run, node, look)
  const ownedAs = (...owners: readonly Owner[]) => all.filter((there) => owners.includes(ownerOf(run, there, all)))
  const labelsOf = (files: readonly FileOnNode[]) => {
    const known = files.filter(({ file }) => auth.read(file))
    return [...new Set(known.flatMap(({ file }) => identityFiles(cluster).get(file) ?? []))]
  }
  const others = labelsOf(ownedAs('otherCluster'))
  if (others.length > 0)
    throw refusal(`${node.name} has another ${others.join(', ')} than ${from}`, [
      'if the backup is of another cluster, or older than a rotation, back up the auth/ that nodes were deployed from (docs/everyday.md)',
      `if that auth/ is lost:\n    ${recoverCommand(run, node)}`,
    ])
  const same = labelsOf(ownedAs('same', 'replaceable', 'newer'))
  note(`${node.name} has ${same.length > 0 ? `the same ${formatNames(same)}` : 'no files of a cluster'}`)
  const newer = ownedAs('newer')
  const names = formatNames(newer.map(({ at }) => at))
  if (newer.length > 0)
    note(`${node.name} has newer certificates than ${from} (${names}); after recover:${waysOutOfOlder(run, newer)}`)
}

async function restore(run: CommandRun, from: string | ClusterNode, targets: readonly ClusterTarget[]): Promise<void> {
  const names = [...targets.flatMap(({ makes }) => makes), ...identityNames(run)]
  const source =
    typeof from === 'string'
      ? sourceInBackup(openAuth(pathOf(run.host, from), run), names)
      : sourceOnNode(run, from, await readNode(run, from))
  const { files, wrong } = await checkFound(run, targets, source)
  run.signal.throwIfAborted()
  const isLost = [...files.keys()].some((name) => !run.auth.tryBytes(name))
  if (files.size > 0) take(run, files, source.backup)
  const { dryRun } = run.options
  const taken = `${dryRun ? 'would restore' : 'restored'} ${files.size > 0 ? 'only part of' : 'nothing from'}`
  // A backup that lacks something is of this cluster all the same.
  if (wrong.length > 0 && dryRun) throw new Failure(`${taken} ${source.where}: ${wrong.join('; ')}`)
  refuseWrong(run, source, wrong, taken)
  if (isLost && !dryRun) run.note(nextOf(run))
}

/** The folder, or the control node. Throws a usage Failure unless there is exactly one. */
function namedSource({ options: { nodes, from }, cluster }: CommandRun): string | ClusterNode {
  const [name, ...more] = nodes
  if (more.length > 0 || (name === undefined) === (from === undefined))
    throw usage('recover needs one source: --node NAME or --from DIR', 'recover')
  if (from !== undefined) return from
  checkNodes(cluster, nodes)
  const controls = controlsOf(cluster)
  const node = controls.find((each) => each.name === name)
  if (node) return node
  throw usageFailure(
    `--node ${name} is not a control node; only control nodes have the CA key`,
    `use one of ${controls.map(({ name }) => name).join(', ')}`,
  )
}

/**
 * What is restored, in writing order. A run that starts between two writes finds a certificate without its CA, or a CA
 * without its key, and makes nothing: the first file is a certificate, and the last is the key of the CA. No node has
 * the files of a rotation.
 */
function identityNames({ auth: { files }, cluster }: Run): string[] {
  const ofCa: string[] = files.pair(caName)
  // Where it is to be shared, a CA of etcd's own is found, and refused.
  const all = new Set([...identityFiles(cluster).keys(), ...files.pair(etcdCaName)])
  const identity = [...all].filter((name) => !ofCa.includes(name))
  const ofRotations = caNames.flatMap((name) => caRotationFiles(files, name))
  // Without it a list that is shorter would let in again whom it has.
  return [...identity, authorizationConfigFile, tokenFiles(files).nextKey, ...ofRotations, ...ofCa]
}

/** May be killed at any moment and run again: what the backup has kept comes first, and the CA last. */
function take({ auth, note, options }: CommandRun, files: ReadonlyMap<string, Buffer>, backup?: AuthDir): void {
  if (!options.dryRun) makePrivate(auth, note)
  const kept = backup && copyBackups(backup, auth) ? ['backup/'] : []
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.writeDurably([name, bytes, auth.files.mode(name)])
  const names = [...missing.map(([name]) => name).toReversed(), ...kept]
  const did = options.dryRun ? 'would restore' : 'restored'
  note(`${names.length > 0 ? `${did} ${formatNames(names)}` : 'nothing to restore'} in ${auth.path}`)
}

/** What to take, in writing order, and what is wrong with the rest. Throws a Failure for another cluster's. */
async function checkFound(run: CommandRun, targets: readonly ClusterTarget[], source: Source) {
  const identity = identityNames(run)
  refusePresent(run, source, identity)
  const found = complete(run, source)
  refuseUnclear(found, source)
  refuseSharedEtcd(found)
  const parts = targets.filter(
    ({ irreplaceable, makes }) => irreplaceable && makes.some((name) => !run.auth.read(name)),
  )
  const wrongOf = await Promise.all(parts.map((target) => findWrong(found, source, target)))
  const left = parts.flatMap(({ makes }, i) => (wrongOf[i]?.length === 0 ? [] : makes))
  const isCaLeft = left.includes(run.auth.files.certificate(caName))
  const wrong = wrongOf.flat()
  // A CA that is whole, and that cluster.yaml does not describe, may be another cluster's, with all that is beside it.
  if (isCaLeft && isRepair(wrongIn(readPair(found.auth, caName)))) refuseWrong(run, source, wrong)
  const fresh = !source.backup || isCaLeft ? [] : await findFresh(found, targets)
  const taken = [...markersIn(found.auth), ...fresh, ...identity].flatMap((name): [string, Buffer][] => {
    const bytes = found.auth.tryBytes(name)
    return bytes && !left.includes(name) ? [[name, bytes]] : []
  })
  return { files: new Map(taken), wrong }
}

/** With an auth/ of what was found, and of what is there already, for the ordinary checks. */
function complete(run: CommandRun, { where, files: found, backup }: Source): CommandRun {
  const { files } = run.auth
  const auth = new MemoryAuthDir(where, files)
  const present = identityNames(run).map((name) => [name, { bytes: run.auth.tryBytes(name) }] as const)
  for (const [name, { bytes }] of [...found, ...present]) if (bytes) auth.write(name, bytes, files.mode(name))
  if (backup) copyBackups(backup, auth)
  // Once a rotation of a CA is finished, its cross certificate follows every leaf.
  const chains = auth.names().flatMap((name) => readCertificates(auth.tryBytes(name) ?? '').slice(1))
  for (const name of caNames) {
    const [ca, file] = [tryCertificate(auth, name), files.certificate(crossName(name))]
    const cross = chains.find((each) => ca && each.isCa && isTwin(each, ca))
    if (cross && !auth.read(file)) auth.write(file, certificatePem(cross.der), publicMode)
  }
  return { ...run, auth }
}

/** What no new certificate repairs. A CA that has expired is still the cluster's. */
async function findWrong(found: Run, { files, backup }: Source, { makes, check }: ClusterTarget): Promise<string[]> {
  const { auth, cluster } = found
  const keptOff = makes.find((file) => !backup && isKeptOff(cluster, file) && !auth.read(file))
  if (keptOff !== undefined) return [`${keptOff} is on no node; restore it from a backup`]
  const unread = makes.flatMap((name) => {
    const { unread, path } = (auth.read(name) ? undefined : files.get(name)) ?? {}
    return unread === undefined ? [] : [`couldn't read ${path} (${unread})`]
  })
  if (unread.length > 0) return unread
  const withPaths = (text: string) =>
    makes.reduce((all, name) => all.replace(name, files.get(name)?.path ?? name), text)
  const certificates = caNames.map(auth.files.certificate)
  const isCa = makes.some((file) => certificates.includes(file) && auth.read(file))
  try {
    const { diffs } = await check(found, isCa ? 'renew' : undefined)
    const lost = diffs.filter(({ verb, names = [] }) => names.length > 0 && verb && losses.includes(verb))
    return lost.map(({ what }) => withPaths(what))
  } catch (error) {
    if (error instanceof Failure) return [withPaths(error.message)]
    throw error
  }
}

const losses: readonly Verb[] = ['make', 'replace', 'renew']

/** Also files that a run would not touch. Another's kubeconfig may name a program that kubectl would run here. */
async function findFresh(found: Run, targets: readonly ClusterTarget[]): Promise<string[]> {
  const leaves = targets.filter(({ irreplaceable }) => !irreplaceable)
  const looks = await Promise.all(leaves.map((target) => tryToAwait(async () => await target.check(found))))
  return leaves.flatMap(({ makes }, i) => (looks[i]?.diffs.length === 0 ? makes : []))
}

function nextOf({ auth, command, options }: CommandRun): string {
  const older =
    options.from === undefined
      ? ''
      : `; if the backup is older than the nodes, then:${waysOutOfOlder({ auth, command })}`
  return `run:\n    ${command('bootstrap')}\nit issues what is missing${older}`
}

/** Throws a refusal if something is wrong: a clause for each. */
function refuseWrong(run: Run, { where }: Source, wrong: readonly string[], taken = 'restored nothing from'): void {
  if (wrong.length > 0)
    throw refusal(`${taken} ${where}: ${wrong.join('; ')}`, [
      `if cluster.yaml is wrong, correct it, then ${runAgain}`,
      `recover from another control node, or from a backup (the directory with ${run.auth.files.certificate(caName)}):\n    ${run.command('recover --from DIR')}`,
      `or correct the files of ${where}, then ${runAgain}`,
    ])
}

function refuseUnclear(found: Run, source: Source): void {
  const { auth, now } = found
  const states = [...caNames.map((name) => caState(auth, now, name)), tokenState(auth)]
  const wrong = states.flatMap((state) => (state.stage === 'unclear' ? state.why : []))
  refuseWrong(found, source, wrong)
}

/** What is there already may be newer, or from a run that was killed. */
function refusePresent(run: CommandRun, { where, files: there }: Source, names: readonly string[]): void {
  const { auth, command, now, options } = run
  const others = names.filter((name) => {
    const [found, present] = [there.get(name)?.bytes, auth.tryBytes(name)]
    if (!found || !auth.read(name) || present?.equals(found)) return false
    const tryBytes = (file: string) => (file === name ? present : undefined)
    return isOtherIdentity(name, { files: auth.files, tryBytes }, found)
  })
  if (others.length === 0) return
  const { from, nodes } = options
  const typed = command(from === undefined ? `recover --node ${nodes[0]}` : `recover --from ${quote(from)}`)
  const aside = quote(`${auth.path}-${backupTime(now)}`)
  // A backup of a run is in auth/ itself, which has to stay.
  const isOfRun = from !== undefined && isInside(pathOf(run.host, from), auth.path)
  const files = others.map((name) => quote(join(auth.path, name))).join(' ')
  const move = isOfRun ? `mkdir -m 700 ${aside} && mv ${files} ${aside}` : `mv ${quote(auth.path)} ${aside}`
  const what = `${auth.path} has another ${formatNames(others)}, which recover never overwrites`
  throw refusal(`restored nothing from ${where}: ${what}`, [
    `if it is not needed, move it aside:\n    ${move} && ${typed}`,
  ])
}

export interface Source {
  readonly where: string
  readonly files: ReadonlyMap<string, SourceFile>
  readonly backup?: AuthDir
}

interface SourceFile {
  /** Absolute; it may be that nothing is there. */
  readonly path: string
  readonly bytes?: Buffer | undefined
  readonly unread?: string | undefined
}

/** The files that the units of the node read, which the cluster runs with; otherwise the deployed ones. */
export function sourceOnNode(run: Run, node: ClusterNode, look: NodeLook): Source {
  const places = placesOf(look)
  const unitPaths = new Map(look.units.flatMap(({ files }) => files.map(({ file, path }) => [file, path])))
  const { files } = run.auth
  const inFolder = (name: string) => look.contents.get(name)
  const ca = readCertificate(inFolder(files.certificate(caName)) ?? '')
  const read = (name: string): SourceFile => {
    const at = realPath(places, unitPaths.get(name) ?? '')
    const place = places.files.get(at)
    const bytes = place ? places.contents.get(at) : inFolder(name)
    const path = place ? at : join(look.folder ?? node.directory, name)
    // Units read the service account's key alone, so its certificate may be older there.
    if (bytes) return { path, bytes: newer(files, name, bytes, inFolder(name), ca) }
    const there = place ?? look.files.get(name)
    return { path, unread: there && whyNotCompared(there) }
  }
  const names = nodeFiles(withList(run).cluster, node).filter((name) => files.parse(name)?.kind !== 'kubeconfig')
  return { where: node.name, files: new Map(names.map((name) => [name, read(name)])) }
}

/** Of two certificates over one key the one that was issued later, if it holds all keys that the other does. */
function newer(files: FileNames, name: string, placed: Buffer, other: Buffer | undefined, ca?: Certificate): Buffer {
  const [one, two] = [placed, other ?? ''].map((pem) => readCertificate(pem))
  if (!one || !two?.publicKey.equals(one.publicKey) || two.notBefore <= one.notBefore) return placed
  if (!other || !ca || !two.x509.verify(ca.publicKey)) return placed
  const tryBytes = (file: string) => (file === name ? other : undefined)
  return isOtherIdentity(name, { files, tryBytes }, placed) ? placed : other
}

/** Follows no link. Throws a Failure if there is no such directory. */
export function sourceInBackup(backup: AuthDir, names: readonly string[]): Source {
  const { path, files } = backup
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`directory ${path} does not exist`, {
      remedy: `give the directory that contains ${files.certificate(caName)}`,
    })
  const read = (name: string): SourceFile => {
    const file = backup.read(name)
    const found = file?.kind === 'file' ? { bytes: file.bytes } : { unread: file && 'not a regular file' }
    return { path: join(path, name), ...found }
  }
  return { where: path, files: new Map([...markersIn(backup), ...names].map((name) => [name, read(name)])), backup }
}
