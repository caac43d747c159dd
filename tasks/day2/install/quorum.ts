/** Members of one store: when one may be restarted, and when none can be healthy yet. */
import { isIP } from 'node:net'
import * as v from 'valibot'
import { specialUse } from '../../../lib/address.ts'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../../lib/failure.ts'
import { isIssuedBy, readCertificates } from '../../../lib/pki/certificate.ts'
import { ownCas } from '../../../lib/pki/pair.ts'
import { formatNames, printable } from '../../../lib/wording.ts'
import { heldOn } from '../../deploy/held.ts'
import { type Asking, type NodeRun, withEtcd } from '../../inspect/component.ts'
import { installOf, limitBeside, lookAtNode, repeat } from '../../inspect/look.ts'
import type { Unit } from '../../layouts/layout.ts'
import { servesOurs, whyNotHealthy } from './restart.ts'

function membersOf({ run, node }: NodeRun) {
  const all = run.cluster.nodes.filter(({ role }) => role === node.role)
  return { all, others: all.filter(({ name }) => name !== node.name), majority: Math.floor(all.length / 2) + 1 }
}

const memberList = v.object({
  members: v.pipe(
    v.array(
      v.object({
        ID: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
        name: v.optional(v.string(), ''),
        peerURLs: v.optional(v.array(v.string()), []),
      }),
    ),
    v.minLength(1),
  ),
})
type Member = v.InferOutput<typeof memberList>['members'][number]

export type QuorumState = 'healthy' | 'not healthy' | 'without a quorum'

/**
 * Only for a healthy member: with one etcd of three down already, restarting another loses the quorum. Any other unit
 * does not wait.
 */
export async function guarded(on: NodeRun, unit: Unit, isHealthy: boolean, work: () => Promise<void>): Promise<void> {
  if (unit.isQuorum && isHealthy) await waitForOthers(on, unit)
  await work()
}

/** Throws a Failure if the other members are not healthy within install.timeout. */
async function waitForOthers(on: NodeRun, unit: Unit): Promise<void> {
  let why: Failure | undefined
  const look = async () => {
    why = await whyNoTurn(on, unit)
    return why?.message
  }
  await repeat(installOf(on.run).timeout, look, on.signal)
  if (why !== undefined) throw why
}

/** A member that was just restarted may not answer yet. Throws a Failure where waiting does not help. */
async function whyNoTurn(on: NodeRun, unit: Unit): Promise<Failure | undefined> {
  const [stranger] = foreignMembers(await readMembers(on, on.node), membersOf(on).all)
  if (stranger !== undefined)
    throw new Failure(`${unit.unit} not restarted; ${stranger}`, {
      node: on.node.name,
      code: 'no-quorum',
      remedy: `then ${runAgain}`,
    })
  const broken = await findBroken(on, unit)
  if (broken.length === 0) return undefined
  const list = broken.map(([{ name }, reason]) => `${name} (${reason})`).join(', ')
  return new Failure(`${unit.unit} not restarted; unhealthy on ${list}`, {
    node: on.node.name,
    code: 'no-quorum',
    remedy: [
      `repair it, then ${runAgain}; if it only lacks its new files:`,
      on.run.command(`install ${broken.map(([{ name }]) => `--node ${name}`).join(' ')}`),
    ].join('\n'),
  })
}

/**
 * The members of etcd that are on none of the control nodes. Their names are often alike (`default`): an address counts
 * first. A loopback address is of the control node that was queried: no member elsewhere can have it.
 */
export function foreignMembers(
  members: readonly Member[],
  controls: readonly Pick<ClusterNode, 'name' | 'ips'>[],
): string[] {
  const isOurs = ({ name, peerURLs }: Member) => {
    const hosts = peerURLs.map((url) => URL.parse(url)?.hostname.replace(/^\[|\]$/g, '') ?? '')
    const hasAddress = hosts.some((host) => isIP(host) !== 0)
    return controls.some(
      (node) =>
        (!hasAddress && node.name === name) ||
        hosts.some(
          (host) =>
            host === 'localhost' ||
            specialUse(host) === 'loopback' ||
            host.startsWith(`${node.name}.`) ||
            [node.name, ...node.ips].includes(host),
        ),
    )
  }
  return members
    .filter((member) => !isOurs(member))
    .map(
      ({ ID, name, peerURLs }) =>
        `the etcd member ${printable(name || 'without a name')} (${printable(formatNames(peerURLs))}) matches no control node in cluster.yaml; add the node, or its address; or, if its API server is gone for good:\n    etcdctl member remove ${BigInt(ID).toString(16)}`,
    )
}

export function readMembers(asking: Asking, node: ClusterNode): Promise<Member[]> {
  return withEtcd(
    asking,
    node,
    async (etcd) => (await etcd.readAs(memberList, 'POST', '/v3/cluster/member/list', {})).members,
  )
}

async function findBroken(on: NodeRun, unit: Unit): Promise<(readonly [ClusterNode, string])[]> {
  const checks = await limitBeside(on.run).map(membersOf(on).others, async (other) => {
    const why = await whyNotHealthy(on, other, unit)
    return why === undefined ? [] : [[other, why] as const]
  })
  return checks.flat()
}

/**
 * The member's state before anything is changed: it is healthy; it can be once it has the files of auth/; or it can't
 * be yet. If all certificates have expired, or are from the future, the other members refuse a first new certificate,
 * and it refuses theirs, until a quorum has new ones. Their dates are read where they are installed: that nobody accepts our credentials does
 * not prove it. Throws a Failure if the quorum is missing for another reason.
 */
export async function quorumStateOf(on: NodeRun, unit: Unit): Promise<QuorumState> {
  if ((await whyNotHealthy(on, on.node, unit)) === undefined) return 'healthy'
  const { others, majority } = membersOf(on)
  const standings = await limitBeside(on.run).map(others, (other) => standingOfOther(on, other, unit))
  const ready = 1 + standings.filter((each) => each === 'ready').length
  if (ready >= majority) return 'not healthy'
  const invalid = standings.filter((each) => each === 'invalid').length
  if (ready + invalid >= majority) return 'without a quorum'
  const lost = others.flatMap(({ name }, i) => (standings[i] === 'unknown' ? [name] : []))
  throw new Failure(`${unit.unit} has no quorum; unhealthy on ${formatNames([on.node.name, ...lost])}`, {
    node: on.node.name,
    code: 'no-quorum',
    remedy: `start it, then ${runAgain}; on each node:\n    systemctl start ${unit.service}`,
  })
}

async function standingOfOther(on: NodeRun, other: ClusterNode, unit: Unit): Promise<'ready' | 'invalid' | 'unknown'> {
  // At once: a member without a quorum does not answer, and each question has its ten seconds.
  const [isOurs, why] = await Promise.all([servesOurs(on, other, unit), whyNotHealthy(on, other, unit)])
  if (isOurs || why === undefined) return 'ready'
  const look = await tryToAwait(() => lookAtNode(on.run, other))
  const { auth, now } = on.run
  const cas = ownCas(auth)
  const held = look ? heldOn(on.run, other, look) : []
  const [leaf] = held
    .filter(({ file, isPlace }) => isPlace && unit.serves.some(({ name }) => file === auth.files.certificate(name)))
    .flatMap(({ bytes }) => (bytes ? readCertificates(bytes).slice(0, 1) : []))
  const isOutOfTime = leaf !== undefined && (leaf.notAfter < now || leaf.notBefore > now)
  return isOutOfTime && cas.some((ca) => isIssuedBy(leaf, ca)) ? 'invalid' : 'unknown'
}
