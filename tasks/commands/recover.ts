/**
 * `recover`: restores what can't be made again of a lost auth/, from a control node or from a backup; of a backup,
 * everything that is fresh. The next run issues the rest anew. Nothing in auth/ is overwritten.
 */
import { X509Certificate } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain, tryToAwait, usageFailure } from '../../lib/failure.ts'
import {
  AuthDir,
  authorizationConfigFile,
  authorizationWebhookFile,
  backupTime,
  caName,
  caNames,
  copyBackups,
  crossName,
  etcdCaName,
  type FileNames,
  frontProxyCaName,
  MemoryStore,
  markersIn,
} from '../../lib/files/auth-dir.ts'
import { publicMode } from '../../lib/files/plain-file.ts'
import { formatAuthorization, type RevokedList, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { isOtherIdentity } from '../../lib/kubernetes/identity.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { certificatePem } from '../../lib/pki/encoding.ts'
import { readPair, tryCertificate, wrongIn } from '../../lib/pki/pair.ts'
import { type Diff, isRepair } from '../../lib/results.ts'
import { formatDate, formatNames, quote } from '../../lib/wording.ts'
import { revokedLine } from '../auth/accepted.ts'
import { fetchCommand } from '../auth/fetch-command.ts'
import { caRotationFiles, caState, isTwin, tokenFiles, tokenState } from '../auth/states.ts'
import { phases } from '../bootstrap.ts'
import { listsOn, refusalOfKeys } from '../day2/revoked/revoked.ts'
import { waysOutOfOlder } from '../deploy/guards.ts'
import { whyNotCompared } from '../deploy/held.ts'
import { type NodeLook, placesOf, readNode, readServedCertificates, withList, withPlaces } from '../inspect/look.ts'
import { identityFiles, isKeptOff, listPath, nodeFiles, nodeUnits } from '../layouts/tables.ts'
import { refuseSharedEtcd } from '../phases/ca.ts'
import { writeAuth } from '../run/access.ts'
import { type CommandRun, openAuth } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { pathOf } from '../run/host.ts'
import { usage } from '../run/options.ts'
import { checkNodes } from '../run/selection.ts'
import { closeFolder } from '../run/walk.ts'
import { type ClusterTarget, clusterGraph, type Run } from '../target.ts'

/** Throws a usage Failure before anything is changed. */
export async function recover(given: CommandRun): Promise<readonly ExitCause[]> {
  const source = sourceOf(given)
  const { host, signal } = given
  const graph = await clusterGraph(phases, given.cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  return writeAuth(given, {
    ...(typeof source !== 'string' && { graph }),
    reporter: await given.reporterFor(new Map(), false),
    work: async (run) => {
      const names = [...targets.flatMap(({ makes }) => makes), ...identityNames(run)]
      const from = (backup: AuthDir): Sources => ({ main: readFolder(backup, names), others: [], backup })
      const sources =
        typeof source === 'string' ? from(openAuth(pathOf(host, source), run)) : await readNodes(run, source)
      const { files, wrong, next } = await checkFound(run, targets, sources)
      signal.throwIfAborted()
      const isLost = [...files.keys()].some((name) => !run.auth.tryBytes(name))
      if (files.size > 0) take(run, files, sources.backup)
      refuseWrongSources(run, sources.main, wrong, { taken: files.size > 0 ? 'only part of' : 'nothing from' })
      for (const text of nextOf(run, next, isLost)) run.note(text)
      return { causes: [] }
    },
  })
}

/** The folder, or the control node. Throws a usage Failure unless there is exactly one. */
function sourceOf({ options: { nodes, from }, cluster }: CommandRun): string | ClusterNode {
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
export function identityNames({ auth: { files }, cluster }: Run): string[] {
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
function take({ auth, note }: Run, files: ReadonlyMap<string, Buffer>, backup: AuthDir | undefined): void {
  closeFolder(auth, note)
  const kept = backup && copyBackups(backup, auth) ? ['backup/'] : []
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.writeDurably([name, bytes, auth.files.mode(name)])
  const names = [...missing.map(([name]) => name).toReversed(), ...kept]
  note(`${names.length > 0 ? `restored ${formatNames(names)}` : 'nothing to restore'} in ${auth.path}`)
}

/**
 * What to take, in writing order, what is wrong with the rest, and what to say then. Throws a Failure if what was found
 * may be of another cluster.
 */
async function checkFound(run: CommandRun, targets: readonly ClusterTarget[], { main, others, source }: Sources) {
  const node = source?.node
  refuseNothing(run, main)
  const identity = identityNames(run)
  refusePresent(run, main, identity)
  const candidate = complete(run, main)
  const { found, ofRotations, ca } = candidate
  refuseDisagreement(found, main, others)
  refuseWrongSources(run, main, source ? await findForeign(candidate, source) : [])
  const isLost = (name: string) => !run.auth.read(name)
  const parts = targets.filter(({ irreplaceable, makes }) => irreplaceable && makes.some(isLost))
  const wrong = await Promise.all(
    parts.map((target) => {
      const key = node && target.makes.find((file) => isKeptOff(run.cluster, file) && !found.auth.read(file))
      return key === undefined ? findWrong(candidate, target) : [formatNowhere(run, key)]
    }),
  )
  const left = parts.flatMap(({ makes }, i) => (wrong[i]?.length === 0 ? [] : makes))
  const isCaLeft = left.includes(run.auth.files.certificate(caName))
  // A CA that is whole, and that cluster.yaml does not describe, may be another cluster's, with all that is beside it.
  if (isCaLeft && isRepair(wrongIn(readPair(found.auth, caName)))) refuseWrongSources(run, main, wrong.flat())
  // What shows whose leaves they are is not taken.
  const fresh = node || isCaLeft ? [] : await findFresh(found, targets)
  const taken = [...markersIn(found.auth), ...fresh, ...identity].flatMap((name): [string, Buffer][] => {
    const bytes = found.auth.tryBytes(name)
    return bytes && !left.includes(name) ? [[name, bytes]] : []
  })
  return { files: new Map(taken), wrong: [...ofRotations, ...wrong.flat()], next: { found, ca } }
}

type Candidate = ReturnType<typeof complete>

/**
 * An auth/ of what was found, and of what is there already, for the ordinary checks. `cas`: its CAs, each of whose
 * leaves belong to this cluster. `at`: where a file of it is.
 */
export function complete(run: Run, main: Holding) {
  const { auth } = run
  const found: Run = { ...run, auth: new AuthDir(main.where, auth.files, new MemoryStore()) }
  const present = identityNames(run).map((name) => [name, { bytes: auth.tryBytes(name) }] as const)
  for (const [name, { bytes }] of [...main.files, ...present])
    if (bytes) found.auth.write(name, bytes, auth.files.mode(name))
  const ofRotations = dropUnclear(found, main)
  addCross(found.auth)
  refuseSharedEtcd(found)
  const ca = tryCertificate(found.auth, caName)
  // While the next CA of a rotation signs, its leaves belong to this cluster as well.
  const cas = ca ? [ca, ...chainsIn(found.auth).filter(({ x509 }) => x509.verify(ca.publicKey))] : []
  const at = (name: string) => (auth.read(name) ? join(auth.path, name) : (main.files.get(name)?.path ?? name))
  return { main, found, ofRotations, ca, cas, at }
}

function formatNowhere({ auth, command }: Run, key: string): string {
  return key === auth.files.key(frontProxyCaName)
    ? `${key} is on no node; restore it from a backup, or create another:\n    ${command('bootstrap --replace-identity')}`
    : `${key} is on no node (certificates.caKeyOnNodes: false); restore it from a backup`
}

/** As it was typed. */
function commandOf({ options: { nodes, from }, command }: CommandRun): string {
  const [[name], folder] = [nodes, quote(from ?? '')]
  return command(from === undefined ? `recover --node ${name}` : `recover --from ${folder}`)
}

/** Leaves out the files of a rotation that do not fit together, and returns why. */
function dropUnclear({ auth, now }: Run, main: Holding): string[] {
  const rotations = [
    ...caNames.map((name) => ({ state: caState(auth, now, name), names: caRotationFiles(auth.files, name) })),
    { state: tokenState(auth), names: [tokenFiles(auth.files).nextKey] },
  ]
  return rotations.flatMap(({ state, names }) => {
    if (state.stage !== 'unclear' || !names.some((name) => main.files.get(name)?.bytes)) return []
    for (const name of names) auth.remove(name)
    return [state.why.replace(state.file, main.files.get(state.file)?.path ?? state.file)]
  })
}

/** Once a rotation of a CA is finished, its cross certificate follows every leaf. */
function addCross(auth: AuthDir): void {
  for (const name of caNames) {
    const ca = tryCertificate(auth, name)
    const cross = chainsIn(auth).find((each) => ca && isTwin(each, ca))
    if (cross) auth.write(auth.files.certificate(crossName(name)), certificatePem(cross.der), publicMode)
  }
}

/** The cross certificate, and what follows leaves in their files: the certificates of CAs. */
function chainsIn(auth: AuthDir): Certificate[] {
  const certificatesIn = (name: string) => readCertificates(auth.tryBytes(name) ?? '')
  const cross = caNames.flatMap((name) => certificatesIn(auth.files.certificate(crossName(name))))
  const chains = auth.names().flatMap((name) => certificatesIn(name).slice(1))
  return [...cross, ...chains].filter(({ isCa }) => isCa)
}

/**
 * What no new certificate repairs. A CA that has expired, or is to be reissued over its key, is still the cluster's: it
 * is checked as for its renewal.
 */
export async function findWrong({ found, main, cas, at }: Candidate, target: ClusterTarget): Promise<string[]> {
  const [file = ''] = target.makes
  const { name = '' } = found.auth.files.parse(file) ?? {}
  const isCa = caNames.some((each) => each === name) && found.auth.read(file)
  const own = tryCertificate(found.auth, name)
  // Units read the key alone, so a rotation of the CA leaves its certificate there as it was. In auth/ it is issued
  // again.
  const isForeign =
    own && !own.isCa && !main.files.get(file)?.isPlaced && !cas.some(({ publicKey }) => own.x509.verify(publicKey))
  const foreign = isForeign ? [`${at(file)} is not signed by this CA`] : []
  const explain = ({ what, verb, names = [] }: Diff) => {
    const isLost = names.length > 0 && (verb === 'make' || verb === 'replace' || verb === 'renew')
    return isLost ? [names.reduce((text, name) => text.replace(name, at(name)), what)] : []
  }
  const unread = target.makes.flatMap((name) => {
    const why = found.auth.read(name) ? undefined : main.files.get(name)?.unread
    return why === undefined ? [] : [`couldn't read ${at(name)} (${why})`]
  })
  if (unread.length > 0) return unread
  try {
    const { diffs } = await target.check(found, isCa ? 'renew' : undefined)
    return [...foreign, ...diffs.flatMap(explain)]
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const named = target.makes.filter((name) => error.message.includes(name))
    return [`${error.message} (${formatNames((named.length > 0 ? named : target.makes).map(at))})`]
  }
}

/**
 * Of a backup, also the files that a run would not touch. Any other kubeconfig may name a program that kubectl would
 * run here.
 */
export async function findFresh(found: Run, targets: readonly ClusterTarget[]): Promise<string[]> {
  const leaves = targets.filter(({ irreplaceable }) => !irreplaceable)
  const looks = await Promise.all(leaves.map((target) => tryToAwait(async () => await target.check(found))))
  return leaves.flatMap(({ makes }, i) => (looks[i]?.diffs.length === 0 ? makes : []))
}

/** None where nothing was lost, and no other step comes before the next run. */
function nextOf(
  run: CommandRun,
  { found, ca }: { readonly found: Run; readonly ca: Certificate | undefined },
  isLost: boolean,
): string[] {
  const { command, now, options } = run
  const isExpired = ca && ca.notAfter <= now
  const renew = isExpired
    ? `the CA expired on ${formatDate(ca.notAfter)}; renew it:\n    ${command('ca --renew')}\nthen `
    : ''
  const older = options.from === undefined ? '' : `; if the backup is older than the nodes, then:${waysOutOfOlder(run)}`
  const listed = readRevoked(found.auth.tryBytes(authorizationConfigFile)?.toString() ?? '')?.names ?? []
  const dropped = listed.filter((name) => !found.cluster.revoked?.includes(name))
  const line = dropped.length > 0 ? `write in cluster.yaml:\n    ${revokedLine(found, dropped)}\nthen ` : ''
  if (!isLost && !line && !renew) return []
  return [`${line}${renew}run:\n    ${command('bootstrap')}\nit issues what is missing${older}`]
}

/** In words: what is served by no CA of the candidate, on the ports where the cluster's certificate belongs. */
export async function findForeign(
  { found, cas }: Pick<Candidate, 'found' | 'cas'>,
  { node, look }: LookedAt,
): Promise<string[]> {
  const { files, path } = found.auth
  const units = nodeUnits(found.cluster, node)
  const ports = units.flatMap(({ serves }) => serves.filter(({ name }) => name === files.names.api))
  const open = await readServedCertificates(found, { node, look, ports })
  const isOurs = (der: Buffer) => cas.some(({ publicKey }) => new X509Certificate(der).verify(publicKey))
  const foreign = open.flatMap(({ port, served }) => (isOurs(served) ? [] : String(port)))
  if (foreign.length === 0) return []
  return [`${node.name} serves a certificate not signed by the CA of ${path} (port ${formatNames(foreign)})`]
}

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Held>
  /** What the lists on the node have: in its folder, and where its API server reads one. */
  readonly revoked?: RevokedList
}

interface Held {
  /** Absolute; it may be that nothing is there. */
  readonly path: string
  readonly bytes?: Buffer | undefined
  /** Why it was not read. */
  readonly unread?: string | undefined
  /** It was read where units read it. */
  readonly isPlaced?: boolean
}

/**
 * Bytes; ours have some ten thousand, but for a list. It bounds the time that the YAML parser spends on a node's file.
 */
const largest = 32 * 1024

interface LookedAt {
  readonly node: ClusterNode
  readonly look: NodeLook
}

interface Sources {
  readonly main: Holding
  /** The other control nodes. */
  readonly others: readonly Holding[]
  /** What `main` is from. */
  readonly source?: LookedAt
  readonly backup?: AuthDir
}

/**
 * Reads the control nodes. The connection to `node` stays open: its components are queried next. Throws a Failure if
 * that one can't be read; any other is left out with a note.
 */
async function readNodes(run: CommandRun, node: ClusterNode): Promise<Sources> {
  const rest = run.cluster.nodes.filter(({ role, name }) => role === 'control' && name !== node.name)
  const read = (each: ClusterNode) =>
    run.limits.node(async () => {
      const look = await readNode(run, each)
      return { look, holding: holdingOf(run, each, look) }
    })
  const [main, ...results] = await Promise.allSettled([
    read(node),
    ...rest.map((each) => read(each).finally(() => run.disconnect(each))),
  ])
  run.signal.throwIfAborted()
  if (main.status === 'rejected') throw main.reason
  const others = results.flatMap((result) => {
    if (result.status === 'fulfilled') return [result.value.holding]
    if (!(result.reason instanceof Failure)) throw result.reason
    run.note(result.reason.message)
    return []
  })
  const { look, holding } = main.value
  return { main: { ...holding, files: newestOf(run, holding, others) }, others, source: { node, look } }
}

/** Another control node may have a certificate that was issued later, or list somebody else as revoked. */
function newestOf({ auth, cluster }: Run, main: Holding, others: readonly Holding[]): Holding['files'] {
  const files = new Map(main.files)
  const lists = [main, ...others].flatMap((each) => (each.revoked ? { where: each.where, ...each.revoked } : []))
  const withKeys = lists.find(({ keys }) => keys.length > 0)
  if (withKeys) throw refusalOfKeys(`${authorizationConfigFile} on ${withKeys.where}`, withKeys.keys)
  const listed = new Set(lists.flatMap(({ names }) => names))
  const text = formatAuthorization([...listed], listPath(cluster, authorizationWebhookFile))
  const name = authorizationConfigFile
  if (listed.size > 0) files.set(name, { path: name, ...files.get(name), bytes: Buffer.from(text) })
  const ca = readCertificate(files.get(auth.files.certificate(caName))?.bytes ?? '')
  const newest = (name: string, bytes: Buffer) =>
    others.reduce((held, other) => newer(auth.files, name, held, other.files.get(name)?.bytes, ca), bytes)
  return new Map(
    [...files].map(([name, held]) => [name, held.bytes ? { ...held, bytes: newest(name, held.bytes) } : held]),
  )
}

/** Of two certificates over one key the one that was issued later, if it holds all keys that the other does. */
function newer(files: FileNames, name: string, held: Buffer, other: Buffer | undefined, ca?: Certificate): Buffer {
  const [one, two] = [held, other ?? ''].map((pem) => readCertificate(pem))
  if (!one || !two?.publicKey.equals(one.publicKey) || two.notBefore <= one.notBefore) return held
  if (!other || !ca || !two.x509.verify(ca.publicKey)) return held
  const tryBytes = (file: string) => (file === name ? other : undefined)
  return isOtherIdentity(name, { files, tryBytes }, held) ? held : other
}

/** The files that its units read, which the cluster runs with; otherwise the deployed ones. */
export function holdingOf(run: Run, node: ClusterNode, look: NodeLook): Holding {
  // What was deployed may be older than what its units read.
  const places = placesOf(look)
  const pathOf = new Map(look.units.flatMap(({ files }) => files.map(({ file, path }) => [file, path])))
  const { files } = run.auth
  const inFolder = (name: string) => look.contents.get(name)
  const ca = readCertificate(inFolder(files.certificate(caName)) ?? '')
  const read = (name: string): Held => {
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    const bytes = place ? places.contents.get(at) : inFolder(name)
    const held = { path: place ? at : join(look.folder ?? node.directory, name), isPlaced: place !== undefined }
    const isTooLarge = bytes && bytes.length > largest && files.parse(name)?.kind !== 'authorization'
    // Units read the service account's key alone, so its certificate may be older there.
    if (bytes && !isTooLarge) return { ...held, bytes: newer(files, name, bytes, inFolder(name), ca) }
    const there = place ?? look.files.get(name)
    return { ...held, unread: there && whyNotCompared(there) }
  }
  const names = nodeFiles(withList(run).cluster, node).filter((name) => files.parse(name)?.kind !== 'kubeconfig')
  const lists = listsOn(run, node, look).flatMap(({ bytes }) => readRevoked(bytes?.toString() ?? '') ?? [])
  const revoked = { names: lists.flatMap((each) => each.names), keys: lists.flatMap(({ keys }) => keys) }
  return { where: node.name, files: new Map(names.map((name) => [name, read(name)])), revoked }
}

/**
 * Throws a Failure if root can't inspect what units read, with or without `install`: nothing else shows what the
 * cluster runs with.
 */
export async function readWholeNode(run: Run, node: ClusterNode): Promise<NodeLook> {
  try {
    const look = await readNode(withPlaces(run, node.user === 'root' ? '' : 'sudo -n'), node)
    placesOf(look)
    return look
  } catch (error) {
    if (run.cluster.install || !(error instanceof Failure) || error.code !== 'no-root') throw error
    const remedy = `let ${node.user} run sh as root on ${node.name} without a password (sudoers: NOPASSWD), then ${runAgain}`
    throw error.with({ remedy })
  }
}

export function readFolder(folder: AuthDir, names: readonly string[]): Holding {
  const { path, files } = folder
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`directory ${path} does not exist`, {
      remedy: `give the directory that contains ${files.certificate(caName)}`,
    })
  // Without it, a version that would misread these files runs.
  const markers = markersIn(folder)
  const read = (name: string): Held => {
    const file = folder.read(name)
    const found = file?.kind === 'file' ? { bytes: file.bytes } : { unread: file && 'not a regular file' }
    return { path: join(path, name), ...found }
  }
  return { where: path, files: new Map([...markers, ...names].map((name) => [name, read(name)])) }
}

const again = `then ${runAgain}`

export function refuseNothing(run: CommandRun, main: Holding): void {
  if ([...main.files.values()].some(({ bytes, unread }) => bytes ?? unread)) return
  const { auth, command, options } = run
  const [{ from, names }, ca] = [options, auth.files.certificate(caName)]
  if (from !== undefined) {
    const folder = quote(join(from, 'auth'))
    const isInside = existsSync(join(main.where, 'auth', ca))
    const again = command(`${names.includes('verify') ? 'verify' : 'recover'} --from ${folder}`)
    const remedy = isInside ? [`did you mean ${folder}:\n    ${again}`] : elsewhere(run, main)
    throw new Failure(`${main.where} has no ${ca}`, { remedy: remedy.join('\n') })
  }
  throw new Failure(`${main.where} has no file of auth/`, {
    remedy: [
      ...(run.cluster.install ? [] : [`if the cluster runs, set install: true in cluster.yaml, ${again}`]),
      ...elsewhere(run, main),
    ].join('\n'),
  })
}

/** Throws a refusal if something is wrong: a clause for each. */
function refuseWrongSources(
  run: Run,
  main: Holding,
  wrong: readonly string[],
  said: { taken?: string; ways?: string[] } = {},
): void {
  const { taken = 'nothing from', ways } = said
  const usual = [
    `if cluster.yaml is wrong, correct it, ${again}`,
    ...elsewhere(run, main),
    `or correct the files of ${main.where}, ${again}`,
  ]
  if (wrong.length > 0) throw refusal(`restored ${taken} ${main.where}: ${wrong.join('; ')}`, ways ?? usual)
}

/** Nodes with different identities can't belong to one cluster; only the user knows which is right. */
function refuseDisagreement(found: Run, main: Holding, others: readonly Holding[]): void {
  const disagreeing = others
    .map((other) => ({ where: other.where, labels: otherLabels(found, other) }))
    .filter(({ labels }) => labels.length > 0)
  const wrong = disagreeing.map(({ where, labels }) => `${where} has another ${labels.join(', ')}`)
  const names = disagreeing.map(({ where }) => where)
  const ways = [
    ...names.map((name) => `if ${name} is right:\n    ${found.command(`recover --node ${name}`)}`),
    `if ${main.where} is right, remove ${names.join(', ')} from cluster.yaml until this command has run`,
  ]
  refuseWrongSources(found, main, wrong, { ways })
}

/**
 * Which parts of the identity it holds otherwise, or may. What ours lacks is no other's, but for the CA, which tells
 * whose all is.
 */
export function otherLabels({ cluster, auth }: Run, { files }: Holding): string[] {
  const ca = auth.files.certificate(caName)
  const identity = [...identityFiles(cluster)]
  const known = new Set(identity.flatMap(([name, label]) => (name === ca || auth.tryBytes(name) ? label : [])))
  const others = identity.flatMap(([name, label]) => {
    const { bytes, unread } = files.get(name) ?? {}
    return unread || (bytes && isOtherIdentity(name, auth, bytes)) ? label : []
  })
  return [...new Set(others)].filter((label) => known.has(label))
}

/** What is there already may be newer, or from a run that was killed. */
function refusePresent(run: CommandRun, main: Holding, names: readonly string[]): void {
  const { auth } = run
  const others = names.filter((name) => {
    const [found, present] = [main.files.get(name)?.bytes, auth.tryBytes(name)]
    if (!found || !auth.read(name) || present?.equals(found)) return false
    const tryBytes = (file: string) => (file === name ? present : undefined)
    return isOtherIdentity(name, { files: auth.files, tryBytes }, found)
  })
  if (others.length === 0) return
  const { parse } = auth.files
  const pairs = names.filter((name) => others.some((other) => parse(other)?.name === parse(name)?.name))
  // Whatever else is in auth/ is of that CA: no certificate is issued over its keys here. A backup may be inside auth/.
  const isWholeMoved = run.options.from === undefined && pairs.includes(auth.files.certificate(caName))
  const folder = `mv ${quote(auth.path)} ${quote(`${auth.path}-${backupTime(run.now)}`)} && ${commandOf(run)}`
  const ways = [
    `if it is not needed, move it aside:\n    ${isWholeMoved ? folder : fetchCommand(run, pairs, commandOf(run))}`,
  ]
  const wrong = `${auth.path} has another ${formatNames(others)}, which recover never overwrites`
  refuseWrongSources(run, main, [wrong], { ways })
}

function elsewhere({ auth, cluster, command }: Run, { where }: Holding): string[] {
  const other = cluster.nodes.find(({ name, role }) => role === 'control' && name !== where)
  const hasAll = other && cluster.certificates.caKeyOnNodes
  return [
    ...(hasAll ? [`recover from a control node:\n    ${command(`recover --node ${other.name}`)}`] : []),
    `recover from a backup (the directory with ${auth.files.certificate(caName)}):\n    ${command('recover --from DIR')}`,
  ]
}
