/** The check of a node's units: which files differ where they read them, and what they have not loaded. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { authorizationConfigFile, caName, kubeconfigFile, nextName } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/target.ts'
import { readClientCertificate, readEmbedded, readEmbeddedCa, readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { pairsToReplace, revokedKeys } from '../../lib/kubernetes/revocation.ts'
import { asUnknown } from '../../lib/node/node.ts'
import { type Account, besideOf, diff, folderOf, root, type WantedFile } from '../../lib/node/place.ts'
import { fileAt, isRunning, type PlacesState, realPath } from '../../lib/node/state.ts'
import { commonNameOf, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, ownCas, readPair, tryCertificate } from '../../lib/pki/pair.ts'
import type { Difference, ReasonOf } from '../../lib/reason.ts'
import { apiServer, type Health, type Place, type Port, type Unit } from '../layouts/layout.ts'
import { certTable, nodeUnits, serviceOf } from '../layouts/tables.ts'
import {
  addressOf,
  isApiServer,
  type Life,
  type LoadedConfig,
  parseLoadedConfig,
  readHealth,
  readMetrics,
  readSelfMade,
  readServedCertificate,
  readsCaAgain,
  renewsFrom,
  type ServedCertificate,
} from './component.ts'
import { refuseContradicted } from './declared.ts'
import { digestAt, installOf, lookAtMachine, lookAtNode, type NodeLook, placesOf, repeat } from './look.ts'
import { loadsOf, processesOf, type UnitSeen } from './reads.ts'
import { type ListInForce, readInForce, refuseOldApi } from './revoked.ts'

export interface UnitsFound extends NodeLook {
  readonly places: PlacesState
  /** The certificates that are served, by port. */
  readonly served: ReadonlyMap<number, ServedCertificate>
  /** Of the certificate that its API server made itself; undefined where it shows none. */
  readonly selfMade: Life | undefined
  /** Why a unit that runs is not healthy, by its name. */
  readonly unhealthy: ReadonlyMap<string, string>
  /** The encryption config of its API server; undefined if it was not queried, or did not answer. */
  readonly config?: LoadedConfig | undefined
  /** What its API server says of the list of who is revoked; undefined if it was not queried, or did not answer. */
  readonly inForce?: ListInForce | undefined
}

/** The check of one unit; the checks are in the table's order. */
export type UnitCheck = Readonly<ReturnType<typeof checkUnitsOf>[number]>

/** Uses the node's one connection. `made`: a look of just now. Throws a Failure if the units could not be looked at. */
export async function lookAtUnits(run: Run, node: ClusterNode, made?: NodeLook): Promise<UnitsFound> {
  try {
    const look = await lookWhenSettled(run, node, made)
    const places = placesOf(look)
    refuseContradicted(run.cluster, node, look.units)
    refuseWrongSettings(node, look.units, places)
    refuseOtherUsers(run, node, look.units, places)
    const units = await withLoads(run, node, look.units, places)
    const asked = units.filter((unit) => isInstalled(unit, places) && mayAnswer(unit, places))
    const answers = await lookAtAnswers(run, node, asked)
    await refuseUnreached(run, node, asked, answers)
    const hasApi = asked.some(isApiServer)
    if (hasApi) await refuseOldApi(run, node, asked)
    return {
      ...look,
      places,
      units,
      ...answers,
      config: await lookAtConfig(run, node, asked, places),
      inForce: hasApi ? await readInForce(run, node) : undefined,
    }
  } catch (error) {
    throw asUnknown(node.name, error)
  }
}

/** Waits until no unit is stopping: a killed run may be restarting it, so it does not count as stopped by its owner. */
async function lookWhenSettled(run: Run, node: ClusterNode, made: NodeLook | undefined): Promise<NodeLook> {
  let look = made ?? (await lookAtNode(run, node))
  const units = nodeUnits(run.cluster, node).map(({ unit }) => unit)
  const why = await repeat(installOf(run).timeout, async () => {
    const stopping = units.find((unit) => placesOf(look).units.get(unit)?.isStopping)
    if (stopping !== undefined) look = await lookAtNode(run, node)
    return stopping
  })
  if (why === undefined) return look
  throw new Failure(`${why} has been stopping for all of install.timeout`, {
    node: node.name,
    code: 'not-looked-at',
    remedy: `see there what it waits for: systemctl status ${serviceOf(run.cluster, why)}; then ${runAgain}`,
  })
}

/** When each file is read. A pair whose key is cut off, or about to be, needs a restart: the unit may not be healthy until a poll. */
async function withLoads(run: Run, node: ClusterNode, units: readonly UnitSeen[], places: PlacesState) {
  const isReplaced = pairsToReplace(run)
  const isCutOff = ({ file, part, path }: Place) => {
    if (part !== 'pair') return false
    if (isReplaced(file)) return true
    const there = places.contents.get(realPath(places, path))
    const certificate = there && readCertificate(there)
    return certificate && revokedKeys(run)(certificate)
  }
  return Promise.all(
    units.map(async (unit): Promise<UnitSeen> => {
      const isAsked = unit.metrics && mayAnswer(unit, places) && isCaOpen(run, unit, places)
      const polls = isAsked && (await readsCaAgain({ run }, node, unit.metrics))
      const files = unit.files.map((place): Place => {
        const seen: Place = isCutOff(place) ? { ...place, isCutOff: true } : place
        return { ...seen, loads: loadsOf(seen, { polls }) }
      })
      return { ...unit, files }
    }),
  )
}

/** It may have to load another CA than it was started with. */
function isCaOpen(run: Run, unit: Unit, places: PlacesState): boolean {
  const isOpen = (place: Place) =>
    run.rotating === 'ca' ||
    !isLoaded(unit, place.path, places) ||
    fileAt(places, place.path)?.sha256 !== digestAt(run, place) ||
    changesCa(run, place.file)
  return unit.files.some((place) => place.part === 'ca' && !embedsCa(run, place, unit, places) && isOpen(place))
}

/** The kubeconfig is as those were that had the CA embedded. */
function embedsCa(run: Run, { file }: Pick<Place, 'file'>, { files }: Unit, places: PlacesState): boolean {
  const there = files.find((place) => place.file === file && place.part === 'kubeconfig')
  return (
    !changesCa(run, file) &&
    there !== undefined &&
    fileAt(places, there.path)?.sha256 === digestAt(run, { file, part: 'embedded' })
  )
}

/** In a plan: whether the kubeconfig would trust other certificates than now. During a rotation it trusts two CAs. */
function changesCa({ auth, pending = none }: Run, kubeconfig: string): boolean {
  if (!pending.has(kubeconfig)) return false
  const files = [caName, nextName(caName)].map(auth.files.certificate)
  const setIn = (...all: readonly (Buffer | undefined)[]) =>
    new Set(all.flatMap((pem) => readCertificates(pem ?? '')).map(({ der }) => der.toString('hex')))
  const trusted = setIn(...files.map((file) => auth.tryBytes(file)))
  const held = setIn(readEmbeddedCa(`${auth.tryBytes(kubeconfig)}`))
  return files.some((file) => pending.has(file)) || trusted.symmetricDifference(held).size > 0
}

/** What is installed where a command line is wrong may be read by nobody. Throws a Failure. */
export function refuseWrongSettings(node: ClusterNode, units: readonly UnitSeen[], places: PlacesState): void {
  const [first, ...more] = units.filter(({ wrong }) => wrong.length > 0)
  if (first)
    throw new Failure([first, ...more].map(({ unit, wrong }) => `${unit}: ${wrong.join('; ')}`).join('; '), {
      node: node.name,
      code: 'wrong-setting',
      remedy: `change that there, and restart it: systemctl edit --full ${first.service}; then ${runAgain}`,
    })
  refuseOddPaths(node, units, places)
}

/**
 * A kubeconfig of our CA that is of another user is not replaced: the unit would be somebody else, who may do other things. Nor does a
 * kubelet get another name: it may change neither its own Node nor its lease then, and still gets answers. Throws a Failure.
 */
export function refuseOtherUsers(
  run: Pick<Run, 'auth' | 'cluster' | 'options' | 'command'>,
  node: ClusterNode,
  units: readonly UnitSeen[],
  places: PlacesState,
): void {
  if (run.options.replaceIdentity) return
  const refuse = (what: string, remedy: string) =>
    new Failure(what, { node: node.name, code: 'wrong-setting', remedy: `${remedy}; then ${runAgain}` })
  for (const unit of units.filter((each) => !keepsOwnClient(run, each, places))) {
    const other = unit.files.flatMap((place) => otherUserAt(run, place, places))[0]
    if (other)
      throw refuse(
        `${unit.unit}: ${other.path} is a kubeconfig of ${other.held}, and that of ${other.wanted} belongs there`,
        `have ${unit.unit} read another file, or give the node or unit that name in cluster.yaml; or overwrite it: ${run.command(`install --node ${node.name} --replace-identity`)}`,
      )
    const isOfNode = unit.files.some(({ file }) => file === kubeconfigFile(node.name))
    const name = (unit.nodeName ?? places.hostname)?.toLowerCase()
    if (!isOfNode || !isRunning(places, unit.unit) || name === undefined || name === node.name) continue
    const source = unit.nodeName === undefined ? 'its host name' : '--hostname-override'
    throw refuse(
      `its kubelet is the node ${name} (${source}), and cluster.yaml calls it ${node.name}`,
      `give it that name in cluster.yaml; or, if no Node ${name} is in use, set --hostname-override=${node.name} there, and restart it: systemctl edit --full ${unit.service}`,
    )
  }
}

/** Of a certificate of our CA there whose user is not the one that it should be. */
function otherUserAt(
  { auth, cluster }: Pick<Run, 'auth' | 'cluster'>,
  { file, path, part }: Place,
  places: PlacesState,
) {
  const bytes = part === 'pair' || part === 'kubeconfig' ? places.contents.get(realPath(places, path)) : undefined
  const held = bytes && readCertificate((part === 'kubeconfig' ? readClientCertificate(bytes.toString()) : bytes) ?? '')
  const name = auth.files.parse(file)?.name
  const wanted = certTable(cluster).find((row) => row.name === name)?.profile.subject.CN
  if (!held || wanted === undefined || held.attributes.includes(`CN=${wanted}`)) return []
  if (!isOfOwnCa(auth, held)) return []
  return [{ path, wanted, held: commonNameOf(held) ?? 'nobody' }]
}

/** Root does not write to paths that are ambiguous, or that another user could redirect. */
function refuseOddPaths(node: ClusterNode, units: readonly UnitSeen[], { links, odd, real }: PlacesState): void {
  const refuse = (what: string, remedy: string) =>
    new Failure(`${what}: nothing is installed there`, { node: node.name, code: 'odd-path', remedy })
  const remedy = 'name the real path in cluster.yaml (install.units)'
  const rows = units.flatMap(({ unit, files }) => files.map((place) => ({ ...place, unit })))
  // Another process may name any path.
  const paths = [...rows.map(({ path }) => path), ...units.flatMap(({ config }) => config ?? [])]
  const link = paths.map((path) => links.get(path)).find((each) => each !== undefined)
  if (link !== undefined)
    throw refuse(
      `${link}, on the way of a link to files of its units, belongs to another user than root`,
      `give it to root there: chown -h root ${link}; or ${remedy}`,
    )
  const lost = rows.find(({ path }) => odd.includes(path))
  if (lost) throw refuse(`${lost.path} leads nowhere, or to a name with other than plain characters`, remedy)
  for (const same of Map.groupBy(rows, ({ path }) => realPath({ real }, path)).values()) {
    const [first, other] = same.filter(
      (row, i) => same.findIndex(({ file, part }) => file === row.file && part === row.part) === i,
    )
    if (first && other)
      throw refuse(
        `${first.by} of ${first.unit} and ${other.by} of ${other.unit} lead to the same file (${first.path}), and ${first.file} and ${other.file} belong there`,
        `name another path for one of them in cluster.yaml (install.units); then ${runAgain}`,
      )
  }
}

/** True if it has finished its start, and has a process that can answer. */
function mayAnswer({ unit }: Unit, { units }: PlacesState): boolean {
  const { active, process } = units.get(unit) ?? {}
  return active === 'active' && process !== 'gone' && process?.isStopped !== true
}

/** Its metrics are long: they are read only during a rotation, and where the clocks do not show that it has loaded the file. */
async function lookAtConfig(
  run: Run,
  node: ClusterNode,
  units: readonly Unit[],
  places: PlacesState,
): Promise<LoadedConfig | undefined> {
  const isRead = (unit: Unit) =>
    unit.files.some(({ mayReload, path }) => mayReload && (run.rotating !== undefined || !isLoaded(unit, path, places)))
  // Without an answer the clocks decide.
  return units.some(isRead)
    ? await tryToAwait(async () => parseLoadedConfig(await readMetrics({ run }, node)))
    : undefined
}

type Answers = Pick<UnitsFound, 'served' | 'selfMade' | 'unhealthy'>

async function lookAtAnswers(run: Run, node: ClusterNode, units: readonly Unit[]): Promise<Answers> {
  const served = new Map<number, ServedCertificate>()
  const unhealthy = new Map<string, string>()
  const addServed = async (port: Port) => served.set(port.port, await readServedCertificate({ run }, node, port))
  const healthOf = async ({ unit, serves }: Unit, health: Health) => {
    const seen = await readHealth({ run }, node, health)
    if (seen.why !== undefined) unhealthy.set(unit, seen.why)
    const own = serves.find(({ port }) => port === health.port)
    // A server that is not trusted gives no answer, and still shows a certificate.
    if (own && seen.served) served.set(own.port, seen.served)
    else if (own) await addServed(own)
  }
  const look = ({ health, ...unit }: Unit) => [
    health && healthOf(unit, health),
    ...unit.serves.filter(({ port }) => port !== health?.port).map(addServed),
  ]
  const [selfMade] = await Promise.all([readSelfMade({ run }, node, units), ...units.flatMap(look)])
  return { served, selfMade, unhealthy }
}

/**
 * Over a shared connection ssh does not report why a port is not reached: nothing listens, or sshd forbids it. Throws a Failure
 * if no port answers through ssh, though a process listens.
 */
async function refuseUnreached(
  run: Run,
  node: ClusterNode,
  units: readonly Unit[],
  { served, unhealthy }: Answers,
): Promise<void> {
  const isReached = [...served.values()].some((each) => each !== 'nothing')
  if (served.size === 0 || isReached || units.some(({ unit, health }) => health && !unhealthy.has(unit))) return
  const [port] = (await lookAtMachine(run, node, [...served.keys()])).ports
  // It may listen only by now.
  const asked = units.flatMap(({ serves }) => serves).find((each) => each.port === port)
  if (!asked || (await readServedCertificate({ run }, node, asked)) !== 'nothing') return
  const address = addressOf(node)
  throw new Failure('could not be looked at: what listens there shows no certificate through ssh', {
    node: node.name,
    code: 'not-looked-at',
    remedy: `let sshd there through to ${address} (AllowTcpForwarding, PermitOpen in sshd_config); if it does, see what answers: openssl s_client -connect ${address}:${asked.port}
then ${runAgain}`,
  })
}

/** Of the units that are installed there. */
export function checkUnitsOf(run: Run, found: UnitsFound) {
  const { places } = found
  const installed = found.units
    .filter((unit) => isInstalled(unit, places))
    .map((unit) => {
      const keepsOwn = keepsOwnClient(run, unit, places)
      const isLeft = (place: Place) =>
        keepsOwn ? place.part !== undefined : place.part === 'ca' && embedsCa(run, place, unit, places)
      const trustEnds = keepsOwn ? trustEndOf(run, unit, places) : undefined
      return { unit: { ...unit, files: unit.files.filter((place) => !isLeft(place)) }, keepsOwn, trustEnds }
    })
  const units = installed.map(({ unit }) => unit)
  const drifts = Map.groupBy(diff(wantedAt(run, units, places), places), ({ path }) => path)
  return installed.map(({ unit, keepsOwn, trustEnds }) => ({
    unit,
    /** Undefined if everything matches. */
    reason: checkUnit(run, unit, found, drifts),
    /** True if it runs, or tries to. */
    isUp: isUp(unit, places),
    /** By then it will use a pair that is in its place; undefined if it does already. In seconds since 1970 by the node's clock. */
    reloadsBy: reloadsBy(run, unit, places),
    /** True if it gets its client certificate from the cluster by itself: its kubeconfig is left alone. */
    keepsOwnClient: keepsOwn,
    /** When the certificate of the CA in such a kubeconfig expires, if it is none of ours, as after `ca --renew`. */
    trustEnds,
  }))
}

export type WantedPlace = WantedFile & Pick<Place, 'file' | 'part'> & { readonly readers: readonly Account[] }

/** Each file once, even if several units read it, by several paths. */
export function wantedAt(run: Run, units: readonly Unit[], places: PlacesState): WantedPlace[] {
  const all = units.flatMap(({ unit, files }) =>
    files.map((place) => ({ ...place, path: realPath(places, place.path), unit })),
  )
  return [...Map.groupBy(all, ({ path }) => path).values()].flatMap(([row, ...others]) => {
    if (!row) return []
    const { file, path, part } = row
    const there = places.files.get(path)
    // If the node does not know the unit's user, the file's present owner is accepted.
    const owner: Account = { uid: there?.uid ?? 0, gids: [there?.gid ?? 0] }
    const accountOf = (unit: string) => (places.units.has(unit) ? (places.units.get(unit)?.account ?? owner) : root)
    return {
      file,
      path,
      part,
      sha256: digestAt(run, row),
      accepted: isAccepted(run, row, places) ? there?.sha256 : undefined,
      isPending: isPending(run, row, places),
      isSecret: run.auth.files.mode(file) === secretMode,
      readers: [row, ...others].map(({ unit }) => accountOf(unit)),
    }
  })
}

/** True if the certificates in both are for the same keys, whoever issued them; or the CA is embedded, and right. */
function isAccepted(run: Run, { file, path, isOfKeys, part }: Place, { contents, files }: PlacesState): boolean {
  if (part === 'kubeconfig') return files.get(path)?.sha256 === digestAt(run, { file, part: 'embedded' })
  if (!isOfKeys) return false
  const keys = keysToBe(run, file)
  return keys.length > 0 && isDeepStrictEqual(keys, keysOf(contents.get(path)))
}

/** Of all certificates in the file, whatever their order. */
function keysOf(pem: Buffer | undefined): string[] {
  const keys = readCertificates(pem ?? '').map(({ publicKey }) => publicKey)
  return textsOf(keys)
}

const textsOf = (keys: readonly KeyObject[]) =>
  [...new Set(keys.map((key) => key.export({ type: 'spki', format: 'pem' }).toString()))].toSorted()

/** The keys of a file of certificates; in a plan that writes it, those that it will have, or none if one of them is not made yet. */
function keysToBe({ auth, pending = none }: Run, file: string): string[] {
  const { name = '' } = auth.files.parse(file) ?? {}
  if (pending.has(auth.files.key(name))) return []
  const added = pending.has(file) ? [name, nextName(name)].flatMap((each) => readPair(auth, each).key ?? []) : []
  return [...new Set([...keysOf(auth.tryBytes(file)), ...textsOf(added.map(createPublicKey))])].toSorted()
}

/** In a plan: what would change for the unit. A renewal changes the pair of a kubeconfig, and the key of none that it may keep. */
function isPending(run: Run, { file, path, part, isOfKeys }: Place, { contents, files }: PlacesState): boolean {
  const { auth, cluster, pending = none } = run
  if (!pending.has(file)) return false
  if (isOfKeys) return !isDeepStrictEqual(keysToBe(run, file), keysOf(contents.get(path) ?? auth.tryBytes(file)))
  if (!part) return true
  const { name = '' } = auth.files.parse(file) ?? {}
  const text = `${auth.tryBytes(file)}`
  if (part === 'pair') {
    const { certificate, key } = readEmbedded(text) ?? {}
    const isNow = (each: string, held?: Buffer) => held && !pending.has(each) && auth.tryBytes(each)?.equals(held)
    return !isNow(auth.files.certificate(name), certificate) || !isNow(auth.files.key(name), key)
  }
  if (part === 'ca') return changesCa(run, file)
  if (changesCa(run, file) && files.get(path)?.sha256 !== digestAt(run, { file, part })) return true
  const host = certTable(cluster).find((row) => row.name === name)?.dials
  const { port } = cluster.api
  return !isDeepStrictEqual(readServer(text), { cluster: cluster.name, host, port })
}

const none: ReadonlySet<string> = new Set()

/**
 * True if it gets its client certificate from the cluster by itself: its kubeconfig is its own. As long as a certificate of ours is
 * embedded there, it has got none.
 */
function keepsOwnClient({ auth }: Pick<Run, 'auth'>, { files, rotatesItself }: UnitSeen, places: PlacesState): boolean {
  const place = files.find(({ part }) => part === 'kubeconfig')
  if (rotatesItself === false || !place) return false
  const path = realPath(places, place.path)
  const content = places.contents.get(path)
  // The same as ours, if it is there and its content is not in the answer.
  if (!content) return !places.files.has(path)
  const embedded = readCertificate(readClientCertificate(content.toString()) ?? '')
  return !embedded || !isOfOwnCa(auth, embedded)
}

function trustEndOf({ auth }: Pick<Run, 'auth'>, { files }: Unit, places: PlacesState): Date | undefined {
  const place = files.find(({ part }) => part === 'kubeconfig')
  const text = place && places.contents.get(realPath(places, place.path))?.toString()
  const trusted = readCertificates(readEmbeddedCa(text ?? '') ?? '')
  if (trusted.length === 0 || trusted.some(({ der }) => ownCas(auth).some((ca) => ca.der.equals(der)))) return undefined
  return new Date(Math.max(...trusted.map(({ notAfter }) => Number(notAfter))))
}

export function isInstalled({ unit, bundle, files, isInstalledEarly }: Unit, places: PlacesState): boolean {
  if (bundle !== undefined) return files.some(({ path }) => fileAt(places, path))
  const isThere = files.every(({ path }) => places.folders.has(folderOf(path)))
  if (isInstalledEarly && isThere) return true
  // A unit that runs is installed, even if its unit file is now gone, masked or invalid.
  return isThere && (places.units.get(unit)?.isLoaded === true || isRunning(places, unit))
}

/** A unit that its owner stopped is not up, and stays stopped. */
function isUp({ unit, bundle }: Unit, places: PlacesState): boolean {
  return bundle !== undefined || isRunning(places, unit)
}

interface Judged {
  readonly run: Run
  readonly unit: UnitSeen
  readonly found: UnitsFound
  /** Its files that differ. */
  readonly places: ReasonOf<'unit'>['places']
}

/** What one thing about a unit lacks. */
interface Lack extends Partial<ReasonOf<'unit'>> {
  /** Only a restart mends it; `for key` if that is needed since an old key is revoked, and only then. */
  readonly needs?: 'restart' | 'for key' | undefined
}

/** What a unit does not have, or has not loaded, by a rule for each; one that is stopped has nothing loaded. */
function checkUnit(
  run: Run,
  unit: UnitSeen,
  found: UnitsFound,
  drifts: ReadonlyMap<string, readonly Difference[]>,
): ReasonOf<'unit'> | undefined {
  const places = unit.files.flatMap((place) => differenceAt(place, found.places, drifts))
  const judged = { run, unit, found, places }
  const up = isUp(unit, found.places)
  const rules = [inPlace, ...(up ? [loaded, served, startedWith, selfMade] : []), healthy]
  const lacks = rules.flatMap((rule) => rule(judged) ?? [])
  if (lacks.length === 0) return undefined
  const needs = up ? lacks.flatMap(({ needs: each }) => each ?? []) : []
  const restarts = needs.length > 0
  const isRenewed = (port: Port) => isReplaced(run, port.name) || servesAnother(run, port, found)
  const { needs: _, ...all }: Lack = Object.assign({}, ...lacks)
  return {
    ...{ kind: 'unit', unit: unit.unit, places, notLoaded: [], notServed: [], ...all, restarts },
    restartsBefore: up && !restarts ? unit.serves.find(isRenewed)?.restartsBefore : undefined,
    isDrained: restarts && unit.isDrained === true && installOf(run).drain !== '',
    ...(restarts && needs.every((each) => each === 'for key') && { isForKey: true }),
  }
}

function inPlace({ unit, places }: Judged): Lack | undefined {
  if (places.length === 0) return undefined
  return {
    places,
    needs: startFor(
      unit,
      places.map(({ path }) => path),
    ),
  }
}

/** In place, and changed since the unit has read them. */
function loaded({ unit, found, places }: Judged): Lack | undefined {
  const isOld = (place: Place) => !places.some(({ path }) => path === place.path) && !hasLoaded(unit, place, found)
  const notLoaded = (['restart', 'reload'] as const).flatMap((loads) =>
    unit.files.filter((place) => place.loads === loads && isOld(place)).map(({ path }) => path),
  )
  return notLoaded.length > 0 ? { notLoaded, needs: startFor(unit, notLoaded) } : undefined
}

/** Whether the unit reads these only at its start. */
function startFor({ files }: Unit, paths: readonly string[]): Lack['needs'] {
  const atStart = files.filter(({ loads, path }) => loads === 'restart' && paths.includes(path))
  if (atStart.length === 0) return undefined
  return atStart.every(({ isCutOff }) => isCutOff) ? 'for key' : 'restart'
}

/** If a file differs, what is served will change anyway. */
function served({ run, unit, found, places }: Judged): Lack | undefined {
  const ports = places.length > 0 ? [] : unit.serves.filter((port) => servesAnother(run, port, found))
  return ports.length > 0 ? { notServed: ports.map(({ port }) => port) } : undefined
}

function startedWith({ unit: { flags } }: Judged): Lack | undefined {
  const notStartedWith = flags.notStartedWith.map(({ flag, value }) => `${flag}=${value}`)
  return notStartedWith.length > 0 ? { notStartedWith, needs: 'restart' } : undefined
}

function selfMade({ run, unit, found }: Judged): Lack | undefined {
  const certificate = isApiServer(unit) ? found.selfMade : undefined
  if (!certificate || renewsFrom(run, certificate) > run.now) return undefined
  return { selfMadeEnds: certificate.notAfter, needs: 'restart' }
}

/** Credentials that a plan replaces do not count: the unit may refuse them for a good reason. */
function healthy({ run, unit, found, places }: Judged): Lack | undefined {
  const isHeard = places.length === 0 && !isReplaced(run, unit.health?.as ?? '')
  const state = stateOf(unit, isHeard ? found : { ...found, served: new Map(), unhealthy: new Map() })
  if (state === undefined) return undefined
  const active = found.places.units.get(unit.unit)?.active ?? 'active'
  // One that systemd starts again and again gains nothing from a start with the same files.
  const isAgain = active === 'failed' || (active !== 'active' && places.length > 0)
  return { state, ...(isAgain && { needs: 'restart' }) }
}

function servesAnother({ auth }: Run, { port, name }: Port, { served }: UnitsFound): boolean {
  const [leaf, ours] = [served.get(port), tryCertificate(auth, name)?.der]
  return leaf instanceof Buffer && ours !== undefined && !leaf.equals(ours)
}

/** In a plan. */
function isReplaced({ auth, pending }: Run, name: string): boolean {
  return pending?.has(auth.files.certificate(name)) === true
}

/** Seconds: the node's clock is read with that precision. */
const sameClock = 2

/**
 * True if started after the last change of the file. The node's clock may have been set since the start, before or after the
 * change: then it must be so by the clock of the start and by the present one. A start in the future proves nothing.
 */
function isLoaded({ unit, bundle }: Unit, path: string, places: PlacesState): boolean {
  const { process, started: unitStarted } = places.units.get(unit) ?? {}
  const started = bundle === undefined ? unitStarted : fileAt(places, bundle)?.changed
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  if (started === undefined || started <= changed || started > places.now + 1) return false
  const byPresentClock = typeof process === 'object' ? process.started : started
  return Math.abs(started - byPresentClock) <= sameClock || byPresentClock > changed
}

/** By what the API server denies, and by the digest that it reports for its encryption config; without one, by clocks. */
function hasLoaded(unit: Unit, { file, path, loads, mayReload, isReplaced }: Place, found: UnitsFound): boolean {
  if (file === authorizationConfigFile) return found.inForce?.isLoaded === true
  const { places, config } = found
  if (isReplaced) return false
  if (mayReload && config?.digest !== undefined) return config.digest === fileAt(places, path)?.sha256
  return isLoaded(unit, path, places) || (loads === 'reload' && isReloaded(path, found))
}

/** True if the API server has reloaded it since its last change. A time in the future proves nothing. */
function isReloaded(path: string, { places, config }: UnitsFound): boolean {
  const changed = fileAt(places, path)?.changed ?? Number.POSITIVE_INFINITY
  const { process, started = 0 } = places.units.get(apiServer) ?? {}
  const setBack = typeof process === 'object' ? started - process.started : 0
  // It may have reloaded before the clock was set back: then its time is too late by that much.
  const latest = setBack > sameClock ? changed + setBack : changed
  const reloaded = config?.reloaded
  return reloaded !== undefined && reloaded > latest && reloaded <= places.now + 1
}

/**
 * A unit polls from its start on, and has read a pair that was there then. If the node's clock was set since, the time must be over
 * by the clock of the start, too.
 */
function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const { process, started } = places.units.get(unit.unit) ?? {}
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0 || !isUp(unit, places)) return undefined
  const byClockOfStart = typeof process === 'object' && started !== undefined ? started + process.age : places.now
  const changed = Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  const left = changed + waits.polled - Math.min(places.now, byClockOfStart)
  return left > 0 ? places.now + left : undefined
}

/** Undefined if there is nothing to report. */
function stateOf(unit: Unit, found: UnitsFound): string | undefined {
  const { places } = found
  if (unit.bundle === undefined && isUp(unit, places) && !places.units.get(unit.unit)?.isLoaded)
    return 'it runs, and systemd can not use its unit file'
  return (
    whyUnsteady(unit, found) ?? (keptFor(unit, places).length > 0 ? 'a previous run did not see it healthy' : undefined)
  )
}

/** Seconds: a unit that systemd restarted later than that may be about to end again. */
export const settlingTime = 300
/** Seconds: the same for a client of an API server that was restarted meanwhile. */
const settlingTimeOfClients = 30

/** Why a unit that runs, or tries to, is not healthy, or may not stay so. Only time, or its owner, changes that. */
export function whyUnsteady(unit: Unit, { places, served, unhealthy }: UnitsFound): string | undefined {
  const state = places.units.get(unit.unit)
  if (unit.bundle !== undefined || state === undefined || !isUp(unit, places)) return undefined
  const { active, sub, process, restarts, started = 0 } = state
  if (active !== 'active') return `it is ${active} (${sub})`
  if (process === 'gone') return 'its main process has just ended'
  if (process?.isStopped) return 'its main process is stopped (SIGSTOP)'
  const left = process && processesOf(unit, places).find(({ age = 0 }) => age > process.age + sameClock)
  if (left) return `process ${left.id} of an earlier start still runs beside it: stop it there (kill ${left.id})`
  const age = process?.age ?? places.now - started
  if (restarts > 0 && age < (lostItsApiServer(unit, age, places) ? settlingTimeOfClients : settlingTime))
    return `it ended, and systemd restarted it ${Math.max(0, Math.floor(age))} s ago (restarts: ${restarts})`
  const silent = unit.serves.filter(({ port }) => served.get(port) === 'nothing')
  if (silent.length > 0) return `no certificate is served on ${silent.map(({ port }) => port).join(', ')}`
  return unhealthy.get(unit.unit)
}

/**
 * True if this node's API server was started since a unit with a kubeconfig was, whose process is that old, or up to a minute before.
 * Clients that hold a lease end if they can't renew it for 10 s (--leader-elect-renew-deadline). An API server stops for up to two minutes,
 * and a rotation restarts it more than once: which of its starts a client waited for can't be seen any more.
 */
function lostItsApiServer({ files }: Unit, age: number, { units }: PlacesState): boolean {
  const server = units.get(apiServer)?.process
  return typeof server === 'object' && files.some(({ part }) => part === 'kubeconfig') && server.age < age + 60
}

/** Real paths of its files beside which a previous run has left something. */
export function keptFor({ files }: Unit, places: PlacesState): string[] {
  const paths = files.map(({ path }) => realPath(places, path))
  return paths.filter((path) => besideOf(path).some((each) => places.files.has(each)))
}

function differenceAt(
  { path }: Place,
  places: PlacesState,
  drifts: ReadonlyMap<string, readonly Difference[]>,
): ReasonOf<'unit'>['places'] {
  const found = drifts.get(realPath(places, path)) ?? []
  if (found.length > 0) return found.map(({ what }) => ({ path, what }))
  // The clock was set back: no start could be later, so every run would restart the unit.
  return (fileAt(places, path)?.changed ?? 0) > places.now + 1 ? [{ path, what: 'dated in the future' }] : []
}
