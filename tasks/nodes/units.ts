/** The verdict about the units of a node: what they lack, and what they have not loaded. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { fileMode } from '../../lib/files/names.ts'
import { readServed } from '../../lib/nodes/probe.ts'
import { oldSuffix, parseUnits, type UnitsLook, unitsScript } from '../../lib/nodes/units.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import type { UnitReason } from '../../lib/reason.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { nodeUnits, type Place, type Unit } from '../tables/places.ts'
import { credentialsOf } from './credentials.ts'
import { asUnknown, digestOf, newNonce } from './look.ts'

export interface UnitsFound {
  readonly look: UnitsLook
  /** SHA-256 of what is shown there, by the port; undefined where nothing answered. */
  readonly served: ReadonlyMap<number, Buffer | undefined>
}

/** What of a node's units there is, in the table's order. */
export interface UnitVerdict {
  readonly unit: Unit
  /** Undefined: not installed yet. */
  readonly reason: UnitReason | undefined | 'not installed'
  /** Runs, or tries to. */
  readonly isUp: boolean
}

/** On the node's one connection. Throws a Failure where it could not be looked at. */
export async function lookAtUnits(at: Workspace, node: ClusterNode, install: Install): Promise<UnitsFound> {
  const units = nodeUnits(node, install)
  const connection = await at.connect(node)
  const asked = {
    directory: node.directory,
    sudo: install.sudo,
    units: units.filter(({ bundle }) => bundle === undefined).map(({ unit }) => unit),
    paths: [
      ...new Set(units.flatMap(({ files, bundle = [] }) => [...files.map(({ path }) => path), ...[bundle].flat()])),
    ],
    alone: units.flatMap(({ bundle, files }) => (bundle === undefined ? [] : files.map(({ path }) => path))),
  }
  const nonce = newNonce()
  try {
    const look = parseUnits(await connection.run(unitsScript(asked, nonce)), nonce)
    return { look, served: await lookAtPorts(at, node, units, look) }
  } catch (error) {
    if (error instanceof Failure && error.code === 'no-root')
      throw new Failure(`${node.name}: ${error.message}`, { code: 'no-root', remedy: error.remedy ?? '' })
    throw asUnknown(node, error)
  }
}

async function lookAtPorts(at: Workspace, node: ClusterNode, units: readonly Unit[], look: UnitsLook) {
  const ports = units.filter((unit) => isUp(unit, look)).flatMap(({ serves }) => serves)
  const connection = await at.connect(node)
  const answers = ports.map(async ({ port }): Promise<[number, Buffer | undefined]> => {
    const question = {
      open: () => connection.tunnel(addressOf(node), port),
      address: addressOf(node),
      as: credentialsOf(at, 'kubernetes'),
      signal: AbortSignal.timeout(10_000),
    }
    return [port, await readServed(question).catch(() => undefined)]
  })
  return new Map(await Promise.all(answers))
}

export function addressOf({ ips: [address = ''] }: ClusterNode): string {
  return address
}

export function judgeUnits(at: Workspace, node: ClusterNode, install: Install, found: UnitsFound): UnitVerdict[] {
  return nodeUnits(node, install).map((unit) => ({
    unit,
    reason: isInstalled(unit, found.look) ? judge(at, unit, found) : 'not installed',
    isUp: isUp(unit, found.look),
  }))
}

function isInstalled({ unit, bundle, files }: Unit, { units, folders, files: there }: UnitsLook): boolean {
  if (bundle !== undefined) return files.some(({ path }) => there.has(path))
  const isThere = files.every(({ path }) => folders.has(path.replace(/\/[^/]*$/, '')))
  return units.get(unit)?.isLoaded === true && isThere
}

/** What was stopped by its owner stays so. */
function isUp({ unit, bundle }: Unit, { units }: UnitsLook): boolean {
  return bundle !== undefined || !['inactive', 'deactivating', undefined].includes(units.get(unit)?.active)
}

function judge(at: Workspace, unit: Unit, { look, served }: UnitsFound): UnitReason | undefined {
  const state = look.units.get(unit.unit)
  const started = unit.bundle === undefined ? state?.started : look.files.get(unit.bundle)?.changed
  const places = unit.files.flatMap((place) => judgePlace(at, place, look))
  const replaced = new Set(places.flatMap(({ path, what }) => (what === 'missing' || what === 'differs' ? [path] : [])))
  const up = isUp(unit, look)
  const notLoaded = unit.files.flatMap(({ path, by }) => {
    const changed = look.files.get(path)?.changed
    const isLoaded = changed === undefined || (started !== undefined && started > changed)
    return up && by === 'restart' && !replaced.has(path) && !isLoaded ? [path] : []
  })
  const notServed = unit.serves.flatMap(({ port, name }) => {
    const leaf = served.get(port)
    const ours = tryCertificate(at.auth, name)?.x509.raw
    return up && leaf && ours && !leaf.equals(ours) && replaced.size === 0 ? [port] : []
  })
  const isWell = unit.bundle !== undefined || !up || state?.active === 'active'
  const isKept = unit.files.some(({ path }) => look.files.has(path + oldSuffix))
  if (places.length + notLoaded.length + notServed.length === 0 && isWell && !isKept) return undefined
  const restarts =
    up && (!isWell || notLoaded.length > 0 || unit.files.some(({ path, by }) => by === 'restart' && replaced.has(path)))
  return {
    kind: 'unit',
    unit: unit.unit,
    places,
    notLoaded,
    notServed,
    state: isWell ? (isKept ? 'a killed run was not sure of it' : undefined) : `it is ${state?.active} (${state?.sub})`,
    restarts,
    isDrained: restarts && unit.isDrained === true && at.cluster.install !== false && at.cluster.install.drain !== '',
  }
}

function judgePlace(at: Workspace, { file, path }: Place, { files }: UnitsLook): UnitReason['places'] {
  const there = files.get(path)
  const digest = digestOf(at, file)
  if (!there) return [{ path, what: 'missing' }]
  // What is not in auth/ yet is compared when it is.
  if (digest !== undefined && there.digest !== digest) return [{ path, what: 'differs' }]
  if (there.uid !== 0 || there.gid !== 0) return [{ path, what: 'wrong owner' }]
  return there.mode === fileMode(file) ? [] : [{ path, what: 'wrong mode' }]
}
