/**
 * `verify --from`: whether a backup of auth/ would bring the cluster back, by itself and beside what control nodes
 * hold. Reads only.
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { AuthDir, authorizationConfigFile, caName, MemoryStore } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { readRevoked } from '../../lib/kubernetes/authorization.ts'
import { texts } from '../../lib/results.ts'
import { count, formatDate, formatNames } from '../../lib/wording.ts'
import { revokedLine } from '../auth/accepted.ts'
import { recoverCommand } from '../auth/fetch-command.ts'
import { phases } from '../bootstrap.ts'
import { waysOutOfOlder } from '../deploy/guards.ts'
import { heldOn } from '../deploy/held.ts'
import { ownerOf } from '../deploy/owner.ts'
import { identityFiles } from '../layouts/tables.ts'
import { type CommandRun, checkConfigFile, openAuth } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { pathOf } from '../run/host.ts'
import { checkNodes } from '../run/selection.ts'
import { type ClusterTarget, clusterGraph, type Run } from '../target.ts'
import { rotationsUnderWay } from '../views/notices.ts'
import { checkTarget, observe, showObservation } from '../views/observe.ts'
import {
  complete,
  findForeign,
  findFresh,
  findWrong,
  type Holding,
  holdingOf,
  identityNames,
  otherLabels,
  readFolder,
  readWholeNode,
  refuseNothing,
} from './recover.ts'

const kinds = [
  { name: 'backup', title: 'In the backup' },
  { name: 'nodes', title: 'Compared with control nodes' },
]

/** Throws a Failure where there is no backup, and a refusal for one of a newer harderway or another layout. */
export async function verifyBackup(given: CommandRun, from: string): Promise<readonly ExitCause[]> {
  const made = [...(await clusterGraph(phases, given.cluster)).values()].filter(({ where }) => where === 'auth')
  const names = [...made.flatMap(({ makes }) => makes), ...identityNames(given)]
  const main = readFolder(openAuth(pathOf(given.host, from), given), names)
  refuseNothing(given, main)
  // By itself, whatever auth/ has.
  const { nodes } = given.options
  checkNodes(given.cluster, nodes)
  const isAsked = ({ role, name }: ClusterNode) => role === 'control' && (nodes.length === 0 || nodes.includes(name))
  const run = { ...given, auth: new AuthDir(main.where, given.auth.files, new MemoryStore()) }
  const backup = { ...complete(run, main), made }
  const targets = [
    ...made.filter(({ irreplaceable }) => irreplaceable).map((target) => partTarget(target, backup)),
    ...restTargets(backup),
    ...given.cluster.nodes.filter(isAsked).map((node) => nodeTarget(node, backup)),
  ]
  const graph = buildGraph(targets)
  checkConfigFile(given, graph)
  return showObservation(given, await observe(given, graph, { phases: byPhase(kinds, graph) }), {})
}

type Backup = ReturnType<typeof complete> & { readonly made: readonly ClusterTarget[] }

/** What can't be made again. */
function partTarget(target: ClusterTarget, backup: Backup): ClusterTarget {
  return checkTarget(`backup/${target.id.replace(/.*\//, '')}`, async () => {
    const wrong = await findWrong(backup, target)
    if (wrong.length > 0) throw new Failure(wrong.join('; '))
    const until = target.id === caName ? backup.ca?.notAfter : undefined
    return { diffs: [], note: until ? `expires ${formatDate(until)}` : 'complete' }
  })
}

function restTargets({ found, ofRotations, made }: Backup): ClusterTarget[] {
  const rotations = async () => {
    if (ofRotations.length > 0) throw new Failure(ofRotations.join('; '))
    const names = (await rotationsUnderWay(found)).map(({ what }) => what)
    return { diffs: [], note: names.length > 0 ? `in progress: ${formatNames(names)}` : 'none in progress' }
  }
  const others = async () => {
    const all = made.flatMap(({ irreplaceable, makes }) => (irreplaceable ? [] : makes)).length
    const fresh = (await findFresh(found, made)).length
    const rest = fresh < all ? `; for the rest, run:\n    ${found.command('bootstrap')}` : ''
    return { diffs: [], note: `${fresh} of ${count(all, 'file')} up to date${rest}` }
  }
  return [checkTarget('backup/rotations', rotations), checkTarget('backup/other-files', others)]
}

/** The list of a node has more than that of the backup. */
function whomItLacks(found: Run, { where, revoked }: Holding): string | undefined {
  const { auth, cluster } = found
  const listed = readRevoked(auth.tryBytes(authorizationConfigFile)?.toString() ?? '')?.names ?? []
  const lacking = (revoked?.names ?? []).filter((name) => !listed.includes(name))
  if (lacking.length === 0) return undefined
  const more = lacking.filter((name) => !cluster.revoked?.includes(name))
  return `${where} lists ${formatNames(lacking)} as revoked, but ${auth.path} does not; after recover, write in cluster.yaml:\n    ${revokedLine(found, more)}`
}

/** A key of a rotation since the backup counts as another: what it encrypted or signed is lost with it. */
function nodeTarget(node: ClusterNode, { found, main, cas, made }: Backup): ClusterTarget {
  const check: ClusterTarget['check'] = async (run) => {
    const look = await readWholeNode(run, node)
    const held = holdingOf(run, node, look)
    const labelsOf = ({ files }: Holding) =>
      [...identityFiles(found.cluster)].flatMap(([name, label]) => (files.get(name)?.bytes ? label : []))
    for (const [name, { path, unread }] of held.files)
      if (unread && identityFiles(found.cluster).has(name))
        throw new Failure(`couldn't read ${path} on ${node.name} (${unread})`)
    const others = otherLabels(found, held)
    const wrong = [
      ...(others.length > 0 ? [`${node.name} has another ${others.join(', ')} than ${main.where}`] : []),
      // What was deployed, and what units read, may be left from another cluster.
      ...(cas.length > 0 ? await findForeign({ found: { ...found, connect: run.connect }, cas }, { node, look }) : []),
    ]
    if (wrong.length > 0)
      throw refusal(wrong.join('; '), [
        'if the backup is of another cluster, or older than a rotation, back up the auth/ that nodes were deployed from (docs/everyday.md)',
        `if that auth/ is lost:\n    ${recoverCommand(found, node)}`,
      ])
    const same = [...new Set(labelsOf(held))].filter((label) => labelsOf(main).includes(label))
    const note = same.length > 0 ? `same ${formatNames(same)}` : 'no files of a cluster'
    // What recover does not take is issued anew.
    const taken = new Set([...identityNames(found), ...(await findFresh(found, made))])
    const all = heldOn(found, node, look)
    const newer = all.filter((held) => taken.has(held.file) && ownerOf(found, held, all) === 'newer')
    const names = formatNames(newer.map(({ at }) => at))
    const warn = texts(
      newer.length > 0 &&
        `${node.name} has newer certificates than ${main.where} (${names}); after recover:${waysOutOfOlder(found, newer)}`,
      whomItLacks(found, held),
    )
    return { diffs: [], note, warn }
  }
  const release: ClusterTarget['release'] = (run) => run.disconnect(node)
  return checkTarget(`nodes/${node.name}`, check, { where: 'node', node: node.name, release })
}
