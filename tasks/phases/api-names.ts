/**
 * The names of the API's certificate on control nodes, where auth/ has none to compare a new one with: after `recover`,
 * for example.
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { type Certificate, compareWithProfile, isIssuedBy, readDerCertificate } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatNames } from '../../lib/wording.ts'
import { certificatesIn } from '../deploy/guards.ts'
import { heldOn } from '../deploy/held.ts'
import { notLookedAt } from '../deploy/other-cluster.ts'
import { lookAtNode, readServedCertificates, withPlaces } from '../inspect/look.ts'
import { certTable, nodeUnits } from '../layouts/tables.ts'
import type { ClusterGraph, Run } from '../target.ts'
import { lostNames } from './certs.ts'

/** Before a run that deploys makes it: cluster.yaml may have been lost too, so any name of a node's may be dialled. */
export async function findLostNames(run: Run, graph: ClusterGraph): Promise<[string, Failure][]> {
  const { auth, cluster, command, options } = run
  const row = certTable(cluster).find(({ phase }) => phase === 'cluster-cert')
  if (!row || !graph.has(row.id) || options.names.includes(row.id) || ownCas(auth).length === 0) return []
  const file = auth.files.certificate(row.name)
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const looks = await run.limits.node.map(controls, (node) => readAll(run, node, file))
  const lostBy = (certificate: Certificate) =>
    compareWithProfile(certificate, row.profile).flatMap((each) => (each.kind === 'san-changed' ? each.removed : []))
  const lostOn = looks.map((look) => (look instanceof Failure ? [] : look.flatMap(lostBy)))
  const lost = new Set(lostOn.flat())
  if (lost.size > 0) {
    const nodes = controls.filter((_, i) => lostOn[i]?.length)
    const found = `a new ${file} would lose ${formatNames([...lost])}, which clients may use (from ${formatNames(nodes.map(({ name }) => name))})`
    return [[row.id, lostNames(run, row.id, found)]]
  }
  const unseen = controls.filter((_, i) => looks[i] instanceof Failure)
  const why = looks.find((look) => look instanceof Failure)
  const isSeen = looks.some((look) => !(look instanceof Failure) && look.length > 0)
  if (!why || isSeen) return []
  const found = `${formatNames(unseen.map(({ name }) => name))}: ${why.what}; ${auth.path} has no ${file}, and a new one might lose names that clients use`
  const ways = [`or issue it with the names in cluster.yaml: ${command(row.id)}, then ${runAgain}`]
  return [[row.id, notLookedAt(why, found, ways)]]
}

/** Those of our CA that the node has or serves. */
async function readAll(run: Run, node: ClusterNode, file: string): Promise<Certificate[] | Failure> {
  const { auth, cluster } = run
  const seen = withPlaces(run)
  try {
    const look = await lookAtNode(seen, node)
    const held = heldOn(seen, node, look).filter((each) => each.file === file)
    const { api } = auth.files.names
    const ports = nodeUnits(cluster, node).flatMap(({ serves }) => serves.filter(({ name }) => name === api))
    const served = await readServedCertificates(run, node, ports)
    const all = [
      ...held.map(({ bytes }) => certificatesIn(auth, file, bytes)[0]),
      ...served.map((each) => (each.served === 'nothing' ? undefined : readDerCertificate(each.served))),
    ]
    const cas = ownCas(auth)
    const own = all.flatMap((each) => (each && cas.some((ca) => isIssuedBy(each, ca)) ? [each] : []))
    return own.length === 0 && look.places instanceof Failure ? look.places : own
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}
