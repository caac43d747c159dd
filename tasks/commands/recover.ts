/**
 * `recover`: restores what can't be made again of a lost auth/, from a control node or from a backup; of a backup,
 * everything that is fresh. The next run issues the rest anew. Nothing in auth/ is overwritten.
 */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { asFailure, Failure, refusal, runAgain, tryToAwait, usageFailure } from '../../lib/failure.ts'
import {
  AuthDir,
  authorizationConfigFile,
  backupTime,
  caName,
  caNames,
  copyBackups,
  crossName,
  etcdCaName,
  frontProxyCaName,
  MemoryStore,
  markersIn,
} from '../../lib/files/auth-dir.ts'
import { publicMode } from '../../lib/files/plain-file.ts'
import { readRevoked } from '../../lib/kubernetes/authorization.ts'
import { isOtherIdentity } from '../../lib/kubernetes/identity.ts'
import { type Certificate, readCertificates } from '../../lib/pki/certificate.ts'
import { certificatePem } from '../../lib/pki/encoding.ts'
import { certificateIn, readPair, tryCertificate, wrongIn } from '../../lib/pki/pair.ts'
import { isRepair, type Verb } from '../../lib/results.ts'
import { formatDate, formatNames, quote } from '../../lib/wording.ts'
import { revokedLine } from '../auth/accepted.ts'
import { fetchCommand, recoverCommand } from '../auth/fetch-command.ts'
import { caRotationFiles, caState, isTwin, tokenFiles, tokenState } from '../auth/states.ts'
import { phases } from '../bootstrap.ts'
import { waysOutOfOlder } from '../deploy/guards.ts'
import { type FileOnNode, filesOn, type Owner, ownerOf } from '../deploy/owner.ts'
import { lookAtNode, placesOf, readServedCertificates, withPlaces } from '../inspect/look.ts'
import { identityFiles, isKeptOff, nodeUnits } from '../layouts/tables.ts'
import { refuseSharedEtcd } from '../phases/ca.ts'
import { writeAuth } from '../run/access.ts'
import { type CommandRun, checkConfigFile, openAuth } from '../run/command-run.ts'
import { type ExitCause, exitStatus } from '../run/exit-status.ts'
import { pathOf } from '../run/host.ts'
import { usage } from '../run/options.ts'
import { checkNodes } from '../run/selection.ts'
import { closeFolder } from '../run/walk.ts'
import { type ClusterTarget, clusterGraph, type Run } from '../target.ts'
import { type Holding, type LookedAt, readBackup, readNodes, type Sources } from './recover-sources.ts'

/** Throws a usage Failure before anything is changed. */
export async function recover(given: CommandRun): Promise<readonly ExitCause[]> {
  const source = sourceOf(given)
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
async function tryOut(given: CommandRun, source: Source, targets: readonly ClusterTarget[]): Promise<ExitCause[]> {
  const { auth, cluster, endedStatus, limits, signal } = given
  const started = performance.now()
  const reporter = await given.reporterFor(new Map(), false)
  const inMemory = new AuthDir(auth.path, auth.files, new MemoryStore())
  const run: CommandRun = { ...given, auth: inMemory, note: reporter.note }
  const results = await Promise.allSettled([restore(run, source, targets)])
  if (typeof source === 'string' && inMemory.hasFiles()) {
    const controls = cluster.nodes.filter(({ role }) => role === 'control')
    const compared = controls.map((node) => limits.node(() => compareNode(run, source, node)))
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
  const wrong = [
    ...(others.length > 0 ? [`${node.name} has another ${others.join(', ')} than ${from}`] : []),
    ...(await findForeign(run, { node, look }, from)),
  ]
  await run.disconnect(node)
  if (wrong.length > 0)
    throw refusal(wrong.join('; '), [
      'if the backup is of another cluster, or older than a rotation, back up the auth/ that nodes were deployed from (docs/everyday.md)',
      `if that auth/ is lost:\n    ${recoverCommand(run, node)}`,
    ])
  const same = labelsOf(ownedAs('same', 'earlier', 'newer'))
  note(`${node.name} has ${same.length > 0 ? `the same ${formatNames(same)}` : 'no files of a cluster'}`)
  const newer = ownedAs('newer')
  const names = formatNames(newer.map(({ at }) => at))
  if (newer.length > 0)
    note(`${node.name} has newer certificates than ${from} (${names}); after recover:${waysOutOfOlder(run, newer)}`)
}

type Source = string | ClusterNode

async function restore(run: CommandRun, source: Source, targets: readonly ClusterTarget[]): Promise<void> {
  const { host } = run
  const names = [...targets.flatMap(({ makes }) => makes), ...identityNames(run)]
  const sources =
    typeof source === 'string' ? readBackup(openAuth(pathOf(host, source), run), names) : await readNodes(run, source)
  const { files, wrong, found } = await checkFound(run, targets, sources)
  run.signal.throwIfAborted()
  const isLost = [...files.keys()].some((name) => !run.auth.tryBytes(name))
  if (files.size > 0) take(run, files, sources.backup)
  const { dryRun } = run.options
  const taken = `${dryRun ? 'would restore' : 'restored'} ${files.size > 0 ? 'only part of' : 'nothing from'}`
  // A backup that lacks something is of this cluster all the same.
  if (wrong.length > 0 && dryRun) throw new Failure(`${taken} ${sources.main.where}: ${wrong.join('; ')}`)
  refuseWrongSources(run, sources.main, wrong, { taken })
  const next = dryRun ? undefined : nextOf(found, isLost)
  if (next !== undefined) run.note(next)
}

/** The folder, or the control node. Throws a usage Failure unless there is exactly one. */
function sourceOf({ options: { nodes, from }, cluster }: CommandRun): Source {
  const [name, ...more] = nodes
  if (more.length > 0 || (name === undefined) === (from === undefined))
    throw usage('recover needs one source: --node NAME or --from DIR', 'recover')
  if (from !== undefined) return from
  checkNodes(cluster, nodes)
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
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

/**
 * Each file is complete or absent: this may be killed at any moment, and run again. What the backup has kept comes
 * first: when the CA is there, nothing is left to take.
 */
function take({ auth, note, options }: CommandRun, files: ReadonlyMap<string, Buffer>, backup?: AuthDir): void {
  if (!options.dryRun) closeFolder(auth, note)
  const kept = backup && copyBackups(backup, auth) ? ['backup/'] : []
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.writeDurably([name, bytes, auth.files.mode(name)])
  const names = [...missing.map(([name]) => name).toReversed(), ...kept]
  const did = options.dryRun ? 'would restore' : 'restored'
  note(`${names.length > 0 ? `${did} ${formatNames(names)}` : 'nothing to restore'} in ${auth.path}`)
}

/**
 * What to take, in writing order, and what is wrong with the rest. Throws a Failure if what was found may be of another
 * cluster.
 */
async function checkFound(run: CommandRun, targets: readonly ClusterTarget[], sources: Sources) {
  const { main, others, source } = sources
  const identity = identityNames(run)
  refusePresent(run, main, identity)
  const found = complete(run, sources)
  refuseUnclear(found, main)
  refuseSharedEtcd(found)
  refuseDisagreement(found, main, others)
  refuseWrongSources(run, main, source ? await findForeign(found, source, main.where) : [])
  const parts = targets.filter(
    ({ irreplaceable, makes }) => irreplaceable && makes.some((name) => !run.auth.read(name)),
  )
  const wrongOf = await Promise.all(parts.map((target) => findWrong(found, sources, target)))
  const left = parts.flatMap(({ makes }, i) => (wrongOf[i]?.length === 0 ? [] : makes))
  const isCaLeft = left.includes(run.auth.files.certificate(caName))
  const wrong = wrongOf.flat()
  // A CA that is whole, and that cluster.yaml does not describe, may be another cluster's, with all that is beside it.
  if (isCaLeft && isRepair(wrongIn(readPair(found.auth, caName)))) refuseWrongSources(run, main, wrong)
  // What shows whose leaves they are is not taken.
  const fresh = source || isCaLeft ? [] : await findFresh(found, targets)
  const taken = [...markersIn(found.auth), ...fresh, ...identity].flatMap((name): [string, Buffer][] => {
    const bytes = found.auth.tryBytes(name)
    return bytes && !left.includes(name) ? [[name, bytes]] : []
  })
  return { files: new Map(taken), wrong, found }
}

/** With an auth/ of what was found, and of what is there already, for the ordinary checks. */
function complete(run: CommandRun, { main, backup }: Sources): CommandRun {
  const { files } = run.auth
  const auth = new AuthDir(main.where, files, new MemoryStore())
  const present = identityNames(run).map((name) => [name, { bytes: run.auth.tryBytes(name) }] as const)
  for (const [name, { bytes }] of [...main.files, ...present]) if (bytes) auth.write(name, bytes, files.mode(name))
  if (backup) copyBackups(backup, auth)
  // Once a rotation of a CA is finished, its cross certificate follows every leaf.
  for (const name of caNames) {
    const ca = tryCertificate(auth, name)
    const cross = chainsIn(auth).find((each) => ca && isTwin(each, ca))
    if (cross) auth.write(files.certificate(crossName(name)), certificatePem(cross.der), publicMode)
  }
  return { ...run, auth }
}

/** The cross certificate, and what follows leaves in their files: the certificates of CAs. */
function chainsIn(auth: AuthDir): Certificate[] {
  const certificatesIn = (name: string) => readCertificates(auth.tryBytes(name) ?? '')
  const cross = caNames.flatMap((name) => certificatesIn(auth.files.certificate(crossName(name))))
  const chains = auth.names().flatMap((name) => certificatesIn(name).slice(1))
  return [...cross, ...chains].filter(({ isCa }) => isCa)
}

/** Whose leaves belong to this cluster: while the next CA of a rotation signs, its leaves do too. */
function signersIn(auth: AuthDir): Certificate[] {
  const ca = tryCertificate(auth, caName)
  return ca ? [ca, ...chainsIn(auth).filter(({ x509 }) => x509.verify(ca.publicKey))] : []
}

/**
 * What no new certificate repairs. A CA that has expired, or is to be reissued over its key, is still the cluster's: it
 * is checked as for its renewal.
 */
async function findWrong(found: Run, { main, source }: Sources, target: ClusterTarget): Promise<string[]> {
  const { auth, cluster, command } = found
  const { makes } = target
  const keptOff = source && makes.find((file) => isKeptOff(cluster, file) && !auth.read(file))
  if (keptOff === auth.files.key(frontProxyCaName))
    return [
      `${keptOff} is on no node; restore it from a backup, or create another:\n    ${command('bootstrap --replace-identity')}`,
    ]
  if (keptOff !== undefined)
    return [`${keptOff} is on no node (certificates.caKeyOnNodes: false); restore it from a backup`]
  const at = (name: string) => main.files.get(name)?.path ?? name
  const unread = makes.flatMap((name) => {
    const why = auth.read(name) ? undefined : main.files.get(name)?.unread
    return why === undefined ? [] : [`couldn't read ${at(name)} (${why})`]
  })
  if (unread.length > 0) return unread
  const foreign = isForeign(found, main, target) ? [`${makes.slice(0, 1).map(at)} is not signed by this CA`] : []
  try {
    const isCa = caNames.some(
      (name) => auth.read(auth.files.certificate(name)) && makes.includes(auth.files.certificate(name)),
    )
    const { diffs } = await target.check(found, isCa ? 'renew' : undefined)
    const lost = diffs.filter(({ verb, names = [] }) => names.length > 0 && verb && losses.includes(verb))
    return [
      ...foreign,
      ...lost.map(({ what, names = [] }) => names.reduce((text, name) => text.replace(name, at(name)), what)),
    ]
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const named = makes.filter((name) => error.message.includes(name))
    return [`${error.message} (${formatNames((named.length > 0 ? named : makes).map(at))})`]
  }
}

const losses: readonly Verb[] = ['make', 'replace', 'renew']

/**
 * Units read the service account's key alone, so a rotation of the CA leaves its certificate there as it was: in auth/
 * it is issued again.
 */
function isForeign({ auth }: Run, main: Holding, { makes: [file = ''] }: ClusterTarget): boolean {
  const own = certificateIn(auth.tryBytes(file) ?? Buffer.alloc(0))
  if (!own || own.isCa || main.files.get(file)?.isPlaced) return false
  return !signersIn(auth).some(({ publicKey }) => own.x509.verify(publicKey))
}

/**
 * Of a backup, also the files that a run would not touch. Any other kubeconfig may name a program that kubectl would
 * run here.
 */
async function findFresh(found: Run, targets: readonly ClusterTarget[]): Promise<string[]> {
  const leaves = targets.filter(({ irreplaceable }) => !irreplaceable)
  const looks = await Promise.all(leaves.map((target) => tryToAwait(async () => await target.check(found))))
  return leaves.flatMap(({ makes }, i) => (looks[i]?.diffs.length === 0 ? makes : []))
}

/** Undefined where nothing was lost, and no other step comes before the next run. */
function nextOf({ auth, cluster, command, now, options }: CommandRun, isLost: boolean): string | undefined {
  const ca = tryCertificate(auth, caName)
  const renew =
    ca && ca.notAfter <= now
      ? `the CA expired on ${formatDate(ca.notAfter)}; renew it:\n    ${command('ca --renew')}\nthen `
      : ''
  const older =
    options.from === undefined
      ? ''
      : `; if the backup is older than the nodes, then:${waysOutOfOlder({ auth, command })}`
  const listed = readRevoked(auth.tryBytes(authorizationConfigFile)?.toString() ?? '')?.names ?? []
  const dropped = listed.filter((name) => !cluster.revoked?.includes(name))
  const line = dropped.length > 0 ? `write in cluster.yaml:\n    ${revokedLine({ cluster }, dropped)}\nthen ` : ''
  if (!isLost && !line && !renew) return undefined
  return `${line}${renew}run:\n    ${command('bootstrap')}\nit issues what is missing${older}`
}

/** In words: what is served by no CA of auth/, on the ports where the cluster's certificate belongs. */
async function findForeign(run: Run, { node, look }: LookedAt, from: string): Promise<string[]> {
  const signers = signersIn(run.auth)
  if (signers.length === 0) return []
  const units = nodeUnits(run.cluster, node)
  const ports = units.flatMap(({ serves }) => serves.filter(({ name }) => name === run.auth.files.names.api))
  const open = await readServedCertificates(run, { node, look, ports })
  const isOurs = (der: Buffer) => signers.some(({ publicKey }) => new X509Certificate(der).verify(publicKey))
  const foreign = open.flatMap(({ port, served }) => (isOurs(served) ? [] : String(port)))
  if (foreign.length === 0) return []
  return [`${node.name} serves a certificate not signed by the CA of ${from} (port ${formatNames(foreign)})`]
}

const again = `then ${runAgain}`

/** Throws a refusal if something is wrong: a clause for each. */
function refuseWrongSources(
  run: Run,
  main: Holding,
  wrong: readonly string[],
  { taken = 'restored nothing from', ways }: { taken?: string; ways?: string[] } = {},
): void {
  const usual = [
    `if cluster.yaml is wrong, correct it, ${again}`,
    ...elsewhere(run, main),
    `or correct the files of ${main.where}, ${again}`,
  ]
  if (wrong.length > 0) throw refusal(`${taken} ${main.where}: ${wrong.join('; ')}`, ways ?? usual)
}

/** Throws a refusal if the files of a rotation do not fit together. */
function refuseUnclear(found: Run, main: Holding): void {
  const { auth, now } = found
  const states = [...caNames.map((name) => caState(auth, now, name)), tokenState(auth)]
  const wrong = states.flatMap((state) => (state.stage === 'unclear' ? state.why : []))
  refuseWrongSources(found, main, wrong)
}

/** Nodes with different identities can't belong to one cluster; only the user knows which is right. */
function refuseDisagreement(found: Run, main: Holding, others: readonly Holding[]): void {
  const disagreeing = others.flatMap((other) => {
    const labels = otherLabels(found, other)
    return labels.length > 0 ? [{ name: other.where, wrong: `${other.where} has another ${labels.join(', ')}` }] : []
  })
  const names = disagreeing.map(({ name }) => name)
  const ways = [
    ...names.map((name) => `if ${name} is right:\n    ${found.command(`recover --node ${name}`)}`),
    `if ${main.where} is right, remove ${names.join(', ')} from cluster.yaml until this command has run`,
  ]
  refuseWrongSources(
    found,
    main,
    disagreeing.map(({ wrong }) => wrong),
    { ways },
  )
}

/** Which parts of the identity it holds otherwise, or may. What ours lacks is no other's, but for the CA. */
function otherLabels({ cluster, auth }: Run, { files }: Holding): string[] {
  const ca = auth.files.certificate(caName)
  const others = [...identityFiles(cluster)].flatMap(([name, label]) => {
    const { bytes, unread } = files.get(name) ?? {}
    const isKnown = name === ca || auth.read(name)
    return isKnown && (unread || (bytes && isOtherIdentity(name, auth, bytes))) ? label : []
  })
  return [...new Set(others)]
}

/** What is there already may be newer, or from a run that was killed. */
function refusePresent(run: CommandRun, main: Holding, names: readonly string[]): void {
  const { auth, command, now, options } = run
  const others = names.filter((name) => {
    const [found, present] = [main.files.get(name)?.bytes, auth.tryBytes(name)]
    if (!found || !auth.read(name) || present?.equals(found)) return false
    const tryBytes = (file: string) => (file === name ? present : undefined)
    return isOtherIdentity(name, { files: auth.files, tryBytes }, found)
  })
  if (others.length === 0) return
  const { from, nodes } = options
  const folder = quote(from ?? '')
  const typed = command(from === undefined ? `recover --node ${nodes[0]}` : `recover --from ${folder}`)
  const { parse } = auth.files
  const pairs = names.filter((name) => others.some((other) => parse(other)?.name === parse(name)?.name))
  // Whatever else is in auth/ is of that CA: no certificate is issued over its keys here. A backup may be inside auth/.
  const isWholeMoved = from === undefined && pairs.includes(auth.files.certificate(caName))
  const move = isWholeMoved
    ? `mv ${quote(auth.path)} ${quote(`${auth.path}-${backupTime(now)}`)} && ${typed}`
    : fetchCommand(run, pairs, typed)
  const wrong = `${auth.path} has another ${formatNames(others)}, which recover never overwrites`
  refuseWrongSources(run, main, [wrong], { ways: [`if it is not needed, move it aside:\n    ${move}`] })
}

function elsewhere(
  { auth, cluster, command }: Pick<Run, 'auth' | 'cluster' | 'command'>,
  { where }: Holding,
): string[] {
  const other = cluster.nodes.find(({ name, role }) => role === 'control' && name !== where)
  const hasAll = other && cluster.certificates.caKeyOnNodes
  return [
    ...(hasAll ? [`recover from a control node:\n    ${command(`recover --node ${other.name}`)}`] : []),
    `recover from a backup (the directory with ${auth.files.certificate(caName)}):\n    ${command('recover --from DIR')}`,
  ]
}
