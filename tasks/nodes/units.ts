/** The verdict about the units of a node: what they lack, and what they have not loaded. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure, tryToAwait } from '../../lib/failure.ts'
import { fileMode } from '../../lib/files/names.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import type { UnitReason } from '../../lib/reason.ts'
import type { Inspection } from '../../lib/remote/look.ts'
import { type AskedUnits, besideOf, parseUnits, type UnitsLook, unitsScript } from '../../lib/remote/units-look.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { prepareProbe } from '../../lib/tls/probe.ts'
import { formerPlaces, nodeUnits, type Place, type Unit } from '../tables/places.ts'
import { type Misplaced, readMisplaced } from './left-over.ts'
import { askNode, asUnknown, digestOf, inspectNodeAnd, type NodeScript } from './look.ts'
import { nodeFailure } from './node-failure.ts'
import { listeningOn, readShown, type Shown } from './ports.ts'
import { addressOf } from './question.ts'
import { repeat } from './repeat.ts'

export interface UnitsFound {
  readonly look: UnitsLook
  /** What is shown there, by the port. */
  readonly served: ReadonlyMap<number, Shown>
  readonly misplaced: readonly Misplaced[]
}

/** What of a node's units there is, in the table's order. */
export interface UnitVerdict {
  readonly unit: Unit
  /** Undefined where all of it is as asked. */
  readonly reason: UnitReason | undefined | 'not installed'
  /** Runs, or tries to. */
  readonly isUp: boolean
}

/** Asked by one command with the node's folder; undefined where the units could not be looked at. */
export async function inspectNodeAndUnits(
  workspace: Workspace,
  node: ClusterNode,
  install: Install,
): Promise<[Inspection, UnitsFound | undefined]> {
  prepareProbe()
  const [inspection, seen] = await inspectNodeAnd(workspace, node, scriptFor(askedOf(node, install)))
  return [inspection, seen && (await tryToAwait(() => lookAtUnits(workspace, node, install, seen)))]
}

/** On the node's one connection. Throws a Failure where it could not be looked at. */
export async function lookAtUnits(
  workspace: Workspace,
  node: ClusterNode,
  install: Install,
  seen?: UnitsLook,
): Promise<UnitsFound> {
  const units = nodeUnits(node, install)
  try {
    const look = await lookAtRest(workspace, node, install, seen)
    return {
      look,
      served: await lookAtPorts(workspace, node, units, look),
      misplaced: await readMisplaced(workspace, node, install, look),
    }
  } catch (error) {
    if (error instanceof Failure && error.code === 'no-root')
      throw nodeFailure(node, `can't become root (${install.sudo}): ${error.message}`, {
        code: 'no-root',
        remedy:
          'let ssh.user run sh as root there without a password (sudoers: NOPASSWD), or set install.sudo in cluster.yaml to what does; or install: false',
      })
    throw asUnknown(node, error)
  }
}

function scriptFor(asked: AskedUnits): NodeScript<UnitsLook> {
  return { script: (nonce) => unitsScript(asked, nonce), parse: parseUnits }
}

/** Once none of the units is stopping: a run that was killed may be what restarts it, and it is not its owner's word. */
async function lookAtRest(workspace: Workspace, node: ClusterNode, install: Install, first: UnitsLook | undefined) {
  const asked = askedOf(node, install)
  const look = () => askNode(workspace, node, scriptFor(asked))
  let seen = first ?? (await look())
  const why = await repeat(install.timeout, async () => {
    const stopping = asked.units.find((unit) => seen.units.get(unit)?.isStopping)
    if (stopping !== undefined) seen = await look()
    return stopping
  })
  if (why === undefined) return seen
  throw nodeFailure(node, `${why} has been stopping for all of install.timeout`, {
    code: 'not-looked-at',
    remedy: `see there what it waits for: systemctl status ${why}; then run the same command again`,
  })
}

function askedOf(node: ClusterNode, install: Install): AskedUnits {
  const units = nodeUnits(node, install)
  const paths = units.flatMap(({ files, bundle }) => [
    ...files.map(({ path }) => path),
    ...(bundle === undefined ? [] : [bundle]),
  ])
  const former = formerPlaces(node, install)
  return {
    directory: node.directory,
    sudo: install.sudo,
    units: units.filter(({ bundle }) => bundle === undefined).map(({ unit }) => unit),
    paths: [...new Set(paths)],
    alone: units.flatMap(({ bundle, files }) => (bundle === undefined ? [] : files.map(({ path }) => path))),
    former: {
      units: [...new Set(former.map(({ unit }) => unit))],
      paths: [...new Set(former.map(({ path }) => path))],
    },
  }
}

/** Of units that have come to the end of their start. */
async function lookAtPorts(workspace: Workspace, node: ClusterNode, units: readonly Unit[], look: UnitsLook) {
  const ports = units
    .filter((unit) => isInstalled(unit, look) && look.units.get(unit.unit)?.active === 'active')
    .flatMap(({ serves }) => serves.map(({ port }) => port))
  const shown = ports.map(async (port): Promise<[number, Shown]> => [port, await readShown({ workspace }, node, port)])
  const served = new Map(await Promise.all(shown))
  if (ports.length > 0 && ports.every((port) => served.get(port) === 'nothing'))
    await refuseUnreached(workspace, node, ports)
  return served
}

/** Over a shared connection ssh does not tell why it did not reach a port: nothing listens, or sshd does not let us. */
async function refuseUnreached(workspace: Workspace, node: ClusterNode, ports: readonly number[]): Promise<void> {
  const [port] = await listeningOn(workspace, node, ports)
  if (port === undefined) return
  const address = addressOf(node)
  throw nodeFailure(node, 'could not be looked at: what listens there shows no certificate through ssh', {
    code: 'not-looked-at',
    remedy: `let sshd there through to ${address} (AllowTcpForwarding, PermitOpen in sshd_config); if it does, see what answers: openssl s_client -connect ${address}:${port}
then run the same command again`,
  })
}

export function judgeUnits(
  workspace: Workspace,
  node: ClusterNode,
  install: Install,
  found: UnitsFound,
): UnitVerdict[] {
  return nodeUnits(node, install).map((unit) => ({
    unit,
    reason: isInstalled(unit, found.look) ? judge(workspace, unit, install, found) : 'not installed',
    isUp: isUp(unit, found.look),
  }))
}

function isInstalled({ unit, bundle, files }: Unit, { units, folders, files: there }: UnitsLook): boolean {
  if (bundle !== undefined) return files.some(({ path }) => there.has(path))
  const isThere = files.every(({ path }) => folders.has(path.replace(/\/[^/]*$/, '')))
  // Whatever runs was installed, though its unit file may since be gone, masked or a bad one.
  return isThere && (units.get(unit)?.isLoaded === true || isRunning(unit, units))
}

function isRunning(unit: string, units: UnitsLook['units']): boolean {
  return !['inactive', undefined].includes(units.get(unit)?.active)
}

/** What was stopped by its owner stays so. */
function isUp({ unit, bundle }: Unit, { units }: UnitsLook): boolean {
  return bundle !== undefined || isRunning(unit, units)
}

function judge(
  workspace: Workspace,
  unit: Unit,
  { drain }: Install,
  { look, served }: UnitsFound,
): UnitReason | undefined {
  const up = isUp(unit, look)
  const places = unit.files.flatMap((place) => judgePlace(workspace, place, look))
  const isPlaced = (path: string) => places.some((place) => place.path === path)
  const readAtStart = unit.files.filter(({ by }) => by === 'restart').map(({ path }) => path)
  const notLoaded = up ? readAtStart.filter((path) => !isPlaced(path) && !isLoaded(unit, path, look)) : []
  // What is shown is of the file that will be replaced.
  const ports = up && places.length === 0 ? unit.serves : []
  const notServed = ports.flatMap(({ port, name }) => {
    const [leaf, ours] = [served.get(port), tryCertificate(workspace.auth, name)?.der]
    return leaf instanceof Buffer && ours && !leaf.equals(ours) ? [port] : []
  })
  const active = look.units.get(unit.unit)?.active
  const isActive = unit.bundle !== undefined || !up || active === 'active'
  const state = stateOf(unit, look, isActive ? ports.filter(({ port }) => served.get(port) === 'nothing') : [])
  if (places.length + notLoaded.length + notServed.length === 0 && state === undefined) return undefined
  const restarts = up && (!isActive || notLoaded.length > 0 || readAtStart.some(isPlaced))
  return {
    kind: 'unit',
    unit: unit.unit,
    places,
    notLoaded,
    notServed,
    state,
    restarts,
    isDrained: restarts && unit.isDrained === true && drain !== '',
  }
}

/** Started after the last change of the file, both by the node's own clock; a start that is yet to come proves nothing. */
function isLoaded({ unit, bundle }: Unit, path: string, { units, files, now }: UnitsLook): boolean {
  const started = bundle === undefined ? units.get(unit)?.started : files.get(bundle)?.changed
  const changed = files.get(path)?.changed
  return changed === undefined || (started !== undefined && started > changed && started <= now + 1)
}

/** Undefined where nothing is to be said. */
function stateOf(unit: Unit, look: UnitsLook, silent: Unit['serves']): string | undefined {
  const { active, sub, isLoaded } = look.units.get(unit.unit) ?? {}
  if (unit.bundle === undefined && !isLoaded) return 'it runs, and systemd can not use its unit file'
  if (unit.bundle === undefined && isUp(unit, look) && active !== 'active') return `it is ${active} (${sub})`
  if (silent.length > 0) return `no certificate is shown on ${silent.map(({ port }) => port).join(', ')}`
  const isKept = unit.files.some(({ path }) => besideOf(path).some((each) => look.files.has(each)))
  return isKept ? 'an earlier run did not see it get well' : undefined
}

function judgePlace(workspace: Workspace, { file, path }: Place, { files, now }: UnitsLook): UnitReason['places'] {
  const there = files.get(path)
  const digest = digestOf(workspace, file)
  if (!there) return [{ path, what: 'missing' }]
  // What is not in auth/ yet is compared when it is.
  const differs = workspace.pending?.has(file) === true || (digest !== undefined && there.digest !== digest)
  if (!there.isPlain || differs) return [{ path, what: 'differs' }]
  if (there.uid !== 0 || there.gid !== 0) return [{ path, what: 'wrong owner' }]
  if (there.mode !== fileMode(file)) return [{ path, what: 'wrong mode' }]
  // The clock was set back: no start could be later, and each run would restart.
  return there.changed > now + 1 ? [{ path, what: 'dated in the future' }] : []
}
