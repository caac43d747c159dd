/** Members of one store: when one may be restarted, and when none can be healthy yet. */
import { isIP } from 'node:net'
import * as v from 'valibot'
import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { type Certificate, isIssuedBy, readDerCertificate } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatNames, printable } from '../../lib/wording.ts'
import { type Asking, type NodeRun, readServedCertificate, withEtcd } from '../inspect/component.ts'
import { installOf, limitBeside, repeat } from '../inspect/look.ts'
import type { Unit } from '../layouts/layout.ts'
import type { Run } from '../target.ts'
import { whyNotHealthy } from './restart.ts'

const controlsOf = ({ cluster }: Run) => cluster.nodes.filter(({ role }) => role === 'control')
const othersOf = ({ run, node }: NodeRun) => controlsOf(run).filter(({ name }) => name !== node.name)

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

export function readMembers(asking: Asking, node: ClusterNode): Promise<Member[]> {
  return withEtcd(
    asking,
    node,
    async (etcd) => (await etcd.read(memberList, 'POST', '/v3/cluster/member/list', {})).members,
  )
}

/** Before a restart. Throws a Failure if the other members are not healthy within install.timeout. */
export async function waitForOthers(on: NodeRun, unit: Unit): Promise<void> {
  let broken: readonly string[] = []
  // A member that was just restarted may not answer yet.
  const why = await repeat(
    installOf(on.run).timeout,
    async () => {
      const [stranger] = foreignMembers(await readMembers(on, on.node), controlsOf(on.run))
      if (stranger !== undefined) throw notRestarted(on, unit, stranger, `then ${runAgain}`)
      const reasons = await limitBeside(on.run).map(othersOf(on), async (other) => {
        const reason = await whyNotHealthy(on, other, unit)
        return reason === undefined ? [] : [[other.name, `${other.name} (${reason})`] as const]
      })
      broken = reasons.flat().map(([name]) => name)
      return (
        reasons
          .flat()
          .map(([, reason]) => reason)
          .join(', ') || undefined
      )
    },
    on.signal,
  )
  if (why === undefined) return
  const install = on.run.command(`install ${broken.map((name) => `--node ${name}`).join(' ')}`)
  const remedy = `repair it, then ${runAgain}; if it only lacks its new files:\n    ${install}`
  throw notRestarted(on, unit, `unhealthy on ${why}`, remedy)
}

function notRestarted({ node }: NodeRun, { unit }: Unit, why: string, remedy: string): Failure {
  return new Failure(`${unit} not restarted; ${why}`, { node: node.name, code: 'no-quorum', remedy })
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
    if (hosts.some((host) => host === 'localhost' || specialUse(host) === 'loopback')) return true
    const hasAddress = hosts.some((host) => isIP(host) !== 0)
    const isOf = (host: string, node: Pick<ClusterNode, 'name' | 'ips'>) =>
      host.startsWith(`${node.name}.`) || [node.name, ...node.ips].includes(host)
    return controls.some((node) => (!hasAddress && node.name === name) || hosts.some((host) => isOf(host, node)))
  }
  return members
    .filter((member) => !isOurs(member))
    .map(
      ({ ID, name, peerURLs }) =>
        `the etcd member ${printable(name || 'without a name')} (${printable(formatNames(peerURLs))}) matches no control node in cluster.yaml; add the node, or its address; or, if its API server is gone for good:\n    etcdctl member remove ${BigInt(ID).toString(16)}`,
    )
}

export type QuorumState = 'healthy' | 'not healthy' | 'without a quorum'

/**
 * The member's state before anything is changed. While certificates of other members are out of time, a first new one is
 * refused by them, and refuses theirs: no quorum is healthy before a majority has new ones.
 */
export async function quorumStateOf(on: NodeRun, unit: Unit): Promise<QuorumState> {
  if ((await whyNotHealthy(on, on.node, unit)) === undefined) return 'healthy'
  const asked = othersOf(on).flatMap((node) => unit.serves.map((port) => ({ node, port })))
  const cas = ownCas(on.run.auth)
  const isOutOfTime = ({ notBefore, notAfter }: Certificate) => notAfter < on.run.now || notBefore > on.run.now
  const areOutOfTime = await limitBeside(on.run).map(asked, async ({ node, port }) => {
    const served = await tryToAwait(() => readServedCertificate(on, node, port))
    const leaf = served === undefined || served === 'nothing' ? undefined : readDerCertificate(served)
    return leaf !== undefined && isOutOfTime(leaf) && cas.some((ca) => isIssuedBy(leaf, ca))
  })
  return areOutOfTime.includes(true) ? 'without a quorum' : 'not healthy'
}
