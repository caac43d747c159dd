/**
 * The components that answer to our credentials, and the API servers that the cluster has, whatever cluster.yaml says:
 * each renews a lease of its own in kube-system (Kubernetes 1.26 and later), and each control node's etcd is a member.
 * One that the rotation does not reach could not decrypt what the next key encrypts, or refuses what the next CA or key
 * has signed. https://kubernetes.io/docs/concepts/architecture/leases/#api-server-identity
 */

import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../../lib/failure.ts'
import { isRunning } from '../../../lib/node/state.ts'
import { printable } from '../../../lib/wording.ts'
import { unsetOn } from '../../inspect/agreement.ts'
import { type Asking, isApiServer, withApi } from '../../inspect/component.ts'
import { reloadTime, repeat } from '../../inspect/look.ts'
import { apiServer, type Health, store, type Unit } from '../../layouts/layout.ts'
import { nodeUnits, serviceOf } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { checkUnitsOf, type UnitCheck } from '../install/check-units.ts'
import { hostnameOf, isLive, readLeases } from '../install/leases.ts'
import { lookAtUnits, type UnitsFound } from '../install/look-at-units.ts'
import { foreignMembers, readMembers } from '../install/quorum.ts'
import { changedBy, type Rotating, type Rotation } from './rotation.ts'

/** One that answers to a certificate. */
export interface Askable extends Unit {
  readonly health: Health & { readonly as: string }
}

function isAskable(unit: Unit): unit is Askable {
  return unit.health?.as !== undefined
}

/** The checks of those that are installed there, and run. */
export async function runningOn({ run }: Asking, node: ClusterNode): Promise<UnitCheck[]> {
  const checks = checkUnitsOf(run, await lookAtUnits(run, node))
  return checks.filter(({ isUp }) => isUp)
}

export async function askable(asking: Asking, node: ClusterNode): Promise<Askable[]> {
  if (!nodeUnits(asking.run.cluster, node).some(isAskable)) return []
  return (await runningOn(asking, node)).flatMap(({ unit }) => (isAskable(unit) ? [unit] : []))
}

/** The names of the units, of those that can be queried. */
export async function apiServersOn(asking: Asking, node: ClusterNode): Promise<string[]> {
  if (!hasApiServer(asking.run, node)) return []
  return (await askable(asking, node)).filter(isApiServer).map(({ unit }) => unit)
}

const hasApiServer = ({ cluster }: Run, node: ClusterNode) => nodeUnits(cluster, node).some(isApiServer)

/** A look at a control node. */
export interface Looked {
  readonly node: ClusterNode
  readonly found: UnitsFound
}

/** Those whose API server runs. */
export async function apiServers({ run }: Asking): Promise<Looked[]> {
  const nodes = run.cluster.nodes.filter((node) => hasApiServer(run, node))
  const looks = await run.limits.node.map(nodes, async (node) => ({ node, found: await lookAtUnits(run, node) }))
  return withApiServer(run, looks)
}

const withApiServer = (run: Run, looks: readonly Looked[]) =>
  looks.filter(({ found }) => checkUnitsOf(run, found).some(({ unit, isUp }) => isUp && isApiServer(unit)))

/** Throws a Failure if none runs: what is stored is then not known, which is not the same as nothing. */
export async function someApiServer(asking: Asking): Promise<ClusterNode> {
  for (const node of asking.run.cluster.nodes) if ((await apiServersOn(asking, node)).length > 0) return node
  throw new Failure("no API server runs on any control node, so stored objects can't be read", {
    remedy: `start it on each control node:\n    systemctl start ${serviceOf(asking.run.cluster, apiServer)}\nthen ${runAgain}`,
  })
}

/** A control node, and what its machine calls itself, which is the label of its API server's lease. */
interface Control {
  readonly node: Pick<ClusterNode, 'name' | 'ips'>
  readonly hostname: string
}

/** For the next stage of the rotation. Throws a Failure if a component that runs does not answer. */
export async function surveyStage(rotating: Rotating, rotation: Rotation) {
  const { run } = rotating
  const changes = changedBy(rotation, run.cluster)
  const look = async (node: ClusterNode) => {
    const found = await lookAtUnits(run, node)
    const isAsked = hasApiServer(run, node)
    if (!isAsked) await run.disconnect(node)
    const there = (clauses: readonly string[]) => clauses.map((what) => `${node.name}: ${what}`)
    const readers = found.units.filter(({ reads }) => reads.some(({ file }) => changes(file)))
    const isKnown = ({ unit }: Unit) => found.places.units.get(unit)?.isLoaded === true || isRunning(found.places, unit)
    const absent = readers.filter((unit) => unit.bundle === undefined && !isKnown(unit))
    return {
      absent: absent.map(({ service }) => `${service} on ${node.name}`),
      toChange: there(unsetOn(found.units, changes)),
      asked: isAsked ? [{ node, found }] : [],
    }
  }
  const looks = await run.limits.node.map(run.cluster.nodes, look)
  const asked = looks.flatMap((each) => each.asked)
  const { unreached, unknown } = await surveyApiServers(rotating, withApiServer(run, asked))
  const all = (kind: 'absent' | 'toChange') => looks.flatMap((each) => each[kind])
  return {
    unreached: [...unreached, ...((await rotation.unreached?.(rotating)) ?? [])],
    unknown,
    /** Units of cluster.yaml that read what the rotation changes, and that systemd does not know. */
    absent: all('absent'),
    /** What only the user can change on the nodes; a sentence each. */
    toChange: all('toChange'),
  }
}

/**
 * The API servers that are not reached, each with what to do; and why it is not known which there are. `looks`: those
 * whose API server runs, if they were looked at just now.
 */
export async function surveyApiServers(asking: Asking, looks?: readonly Looked[]) {
  const { run, signal } = asking
  const controls = run.cluster.nodes.filter(({ role }) => role === 'control')
  if (!controls.some((node) => nodeUnits(run.cluster, node).some(isApiServer)))
    return {
      unreached: ['kube-apiserver on each control node; add it to install.units in cluster.yaml'],
      unknown: [],
    }
  const running = (looks ?? (await apiServers(asking))).map(controlOf)
  const first = running[0]?.node
  if (!first) return { unreached: [], unknown: ['no API server runs on any control node'] }
  const hostnames = new Set(running.map(({ hostname }) => hostname))
  let live: string[] = []
  const isSilent = ({ hostname }: Control) => !live.includes(hostname)
  const look = async () => {
    const { leases, now } = await withApi(asking, first, readLeases)
    live = leases.filter((lease) => isLive(lease, now)).map(hostnameOf)
    return running.find(isSilent)?.hostname
  }
  // One that was just started renews its lease after it is ready.
  await repeat(reloadTime, look, signal)
  const hasEtcd = nodeUnits(run.cluster, first).some(({ unit }) => unit === store)
  const members = hasEtcd ? await readMembers(asking, first) : []
  return {
    unreached: [
      ...live
        .filter((hostname) => !hostnames.has(hostname))
        .map(
          (hostname) =>
            `the API server on ${printable(hostname || 'an unnamed machine')}, which is no control node's of cluster.yaml; add the node, or stop the API server (its lease ends after 60 s)`,
        ),
      ...foreignMembers(members, controls),
    ],
    unknown: running
      .filter(isSilent)
      .map(
        ({ node }) =>
          `the API server of ${node.name} renewed no lease in kube-system for 60 s (this needs Kubernetes 1.26, feature gate APIServerIdentity and synchronised clocks)`,
      ),
  }
}

/** With its host name as the kernel has it, where kube-apiserver reads it. */
function controlOf({ node, found: { places } }: Looked) {
  const { hostname } = places
  if (hostname !== undefined) return { node, hostname }
  throw new Failure("couldn't read its hostname", {
    node: node.name,
    code: 'not-looked-at',
    remedy: 'run hostname there',
  })
}
