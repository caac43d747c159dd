/**
 * `rotate ca` and `rotate etcd-ca`. The current CA signs a cross certificate for the next one, so during the rotation
 * every certificate is accepted by those who trust either. What the files mean is in tasks/auth/states.ts; what a run
 * makes of them in tasks/phases/ca.ts. Of the cluster's CA:
 *
 *   stage      begins with the write of       the run then                                  signs  trusted
 *   ---------  -----------------------------  --------------------------------------------  -----  -----------
 *   settled                                                                                 ca     ca
 *   both       ca-next-key.pem                makes ca-next.pem, then ca-cross.pem          next   ca and next
 *   finishing  ca.pem: a copy of ca-next.pem  copies ca-next-key.pem to ca-key.pem, then    next   next
 *                                             removes ca-next*.pem, and all is settled
 *
 * - One write begins a stage. A run that is killed before that write is in the previous stage, after it in the new one.
 * - A stage is proven on each node, and only when every client there has read its files again (`untilPolled`): a client
 *   that has not knows only the old CA, and the next stage would cut it off.
 * - The undo of `both` removes the next CA's key last: until then the stage stays the same. `finishing` has no undo.
 * - While the cross certificate is valid, pods that have loaded an older ca.crt need it: a second rotation would break
 *   them.
 *
 * How long a stage waits for clients is counted by the node's clock; all else is by this machine's.
 */

import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, isUnreached, refusal, runAgain, usageFailure } from '../../lib/failure.ts'
import {
  backUp,
  backupFolders,
  caName,
  crossName,
  etcdCaName,
  nextName,
  type RotatedCa,
  readBackup,
} from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import { ask, type Client, isAnswer } from '../../lib/kubernetes/client.ts'
import { type Certificate, isIssuedBy, readCertificate, readDerCertificate } from '../../lib/pki/certificate.ts'
import { blocksIn, certificatePem } from '../../lib/pki/encoding.ts'
import type { Credentials } from '../../lib/pki/handshake.ts'
import { readCredentials, readPair, readPrivateKey, tryCertificate } from '../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { caFiles, caRotationFiles, readCaState, refuseWithCopy } from '../auth/states.ts'
import type { Run } from '../cluster-target.ts'
import { healthQuestion, isApiServer, withApi } from '../inspect/component.ts'
import { reloadTime, repeat } from '../inspect/look.ts'
import { checkUnitsOf, type UnitCheck } from '../install/check-units.ts'
import { lookAtUnits } from '../install/places.ts'
import type { Health, Unit } from '../layouts/layout.ts'
import { issuedBy, layoutOf } from '../layouts/tables.ts'
import type { Rotating, Rotation, Stage } from './rotations.ts'
import { issueTest } from './trial.ts'

/** Seconds from one line to the next while a stage waits. */
const countdown = 5

const rotationOfCa = (name: RotatedCa, { both, finishing }: Record<'both' | 'finishing', string>) => ({
  name,
  stages: [
    {
      name: 'both',
      title: 'sign with the next CA; trust both',
      proof: both,
      begin: (rotating) => beginBoth(rotating, name),
      prove: (rotating, node, tell) => proveBoth(rotating, node, { name, tell }),
      async undo({ run: { auth, now } }) {
        const files = caRotationFiles(auth.files, name)
        backUp(auth, files, now)
        // The key last: until then the stage stays the same.
        for (const file of files.toReversed()) auth.remove(file)
      },
    },
    {
      name: 'finishing',
      title: 'trust only the next CA',
      proof: finishing,
      async begin({ run: { auth, now } }) {
        const { present, next } = caFiles(auth.files, name)
        backUp(auth, auth.files.pair(name), now)
        auth.writeDurably([present, auth.bytes(next), publicMode])
      },
      prove: (rotating, node, tell) => proveFinishing(rotating, node, { name, tell }),
    },
  ] satisfies Stage[],
  undoesUnclear: true as const,
  stageOf: (run: Run) => readCaState(run, name).stage,
  wasRun: ({ auth }: Run) => auth.read(auth.files.certificate(crossName(name))) !== undefined,
})

export const caRotation: Rotation = {
  ...rotationOfCa(caName, {
    both: 'after every client has reloaded (up to 5 min 30 s), clients that trust only the current or only the next CA connect to each server',
    finishing:
      'after every client has reloaded (up to 5 min 30 s), each server that requests a certificate rejects a test certificate of the old CA',
  }),
  what: 'the CA',
}

export const etcdCaRotation: Rotation = {
  ...rotationOfCa(etcdCaName, {
    both: 'clients that trust only the current or only the next CA connect to each member',
    finishing: 'each member rejects a test certificate of the old CA',
  }),
  what: 'the etcd CA',
  needsSnapshot: true,
  refuse({ cluster, command }) {
    const { without } = layoutOf(cluster)
    const why = without.get('etcd.ca')
    if (why !== undefined) throw usageFailure(`layout ${cluster.layout} has no etcd CA: ${why}`)
    if (cluster.etcd.ca === 'shared')
      throw usageFailure(
        'etcd has no CA of its own to rotate (etcd.ca: shared in cluster.yaml)',
        `to give etcd its own CA, set etcd.ca: own there, then run:\n    ${command(`rotate ${etcdCaName}`)}`,
      )
  },
  // An etcd that shares the cluster's CA gets that CA under a name of its own: nothing changes until the last stage. If
  // its certificates are of yet another CA, that one was etcd's own, and is lost.
  prepare({ auth, cluster }) {
    const [certificate, key] = auth.files.pair(etcdCaName)
    const [ca, caKey] = auth.files.pair(caName).map((file) => auth.tryBytes(file))
    const clusterCa = tryCertificate(auth, caName)
    const issued = issuedBy(cluster, etcdCaName).flatMap((row) => tryCertificate(auth, row.name) ?? [])
    const isLost = issued.some(({ x509 }) => clusterCa && !x509.verify(clusterCa.publicKey))
    if (auth.read(certificate) || isLost || !ca || !caKey) return
    auth.writeDurably([key, caKey, secretMode])
    auth.writeDurably([certificate, ca, publicMode])
  },
}

async function beginBoth({ run, isForced }: Rotating, name: RotatedCa): Promise<void> {
  const { auth, cluster, now, command } = run
  if (name === caName) refuseWithCopy(run)
  const { present, cross: crossFile, nextKey } = caFiles(auth.files, name)
  const { certificate } = readPair(auth, name)
  if (certificate && !certificate.maySignCas)
    throw refusal(`${present} in ${auth.path} can't sign another CA (pathlen:0)`, [
      `renew it without that limit first:\n    ${command('ca --renew')}\n    ${command('bootstrap')}`,
    ])
  const cross = tryCertificate(auth, crossName(name))
  if (name === caName && cross && cross.notAfter > now && !isForced)
    throw refusal(
      `pods that loaded the previous ca.crt need ${crossFile} until ${formatDate(cross.notAfter)}; a second rotation breaks them`,
      [`restart those pods, then run:\n    ${command('rotate ca --force')}`],
    )
  backUp(auth, [crossFile], now)
  const key = await generatePrivateKey(cluster.certificates.key)
  auth.writeDurably([nextKey, privateKeyPem(key), secretMode])
}

interface Proof {
  readonly name: RotatedCa
  readonly tell: BuildContext['tell']
}

/** Clients that trust only one of the two CAs reach each server. */
async function proveBoth(rotating: Rotating, node: ClusterNode, { name, tell }: Proof): Promise<string[]> {
  const units = await unitsAsking(rotating, node, { name, tell })
  for (const unit of units)
    for (const trusted of [name, nextName(name)]) await proveAccepted({ rotating, node, unit, trusted })
  return units.map(({ unit }) => unit)
}

/** Each server refuses what the previous CA signs, within a reload, and accepts our own certificate. */
async function proveFinishing(rotating: Rotating, node: ClusterNode, { name, tell }: Proof): Promise<string[]> {
  const units = await unitsAsking(rotating, node, { name, tell })
  const previous = await previousCa(rotating.run, name)
  if (!previous) return []
  for (const unit of units) {
    const probe = { rotating, node, unit, trusted: name }
    const look = async () => {
      const answer = await answerTo(probe, previous.client)
      return answer === 'refused' ? undefined : answer
    }
    const last = await repeat(reloadTime, look, rotating.signal)
    if (last === 'accepted')
      throw new Failure(`${unit.unit} still accepts certificates of the old CA`, {
        node: node.name,
        remedy: `check which CA it trusts:\n    systemctl cat ${unit.service}`,
      })
    if (last !== undefined)
      throw new Failure(`${unit.unit} neither accepts nor refuses a certificate of the old CA: ${last}`, {
        node: node.name,
      })
    await proveAccepted(probe)
  }
  if (units.some(isApiServer)) await forgetPreviousCa(rotating, node, previous.ca)
  return units.map(({ unit }) => unit)
}

interface Askable extends Unit {
  readonly health: Health & { readonly as: string }
}

/** The units that run there and ask for a certificate of the CA, once every client there has read its files again. */
async function unitsAsking(rotating: Rotating, node: ClusterNode, { name, tell }: Proof): Promise<Askable[]> {
  const isAsking = (unit: Unit): unit is Askable => unit.health?.as !== undefined && (unit.health.ca ?? caName) === name
  const checks = await untilPolled(rotating, node, tell)
  return checks.flatMap(({ isUp, unit }) => (isUp && isAsking(unit) ? [unit] : []))
}

async function untilPolled(
  { run, signal }: Rotating,
  node: ClusterNode,
  tell: BuildContext['tell'],
): Promise<UnitCheck[]> {
  for (;;) {
    const found = await lookAtUnits(run, node)
    const checks = checkUnitsOf(run, found)
    const [last] = checks
      .map(({ unit: { unit }, reloadsBy = 0 }) => ({ unit, seconds: Math.ceil(reloadsBy - found.places.now) }))
      .toSorted((a, b) => b.seconds - a.seconds)
    if (!last || last.seconds <= 0) return checks
    for (let left = last.seconds; left > 0; left -= countdown) {
      tell(`waiting up to ${Math.floor(left / 60)} min ${left % 60} s for ${last.unit} to reload`)
      await delay(Math.min(left, countdown) * 1000, undefined, { signal })
    }
  }
}

/** A unit of a node that is queried with credentials, by who trusts the CA of that name. */
interface Probe {
  readonly rotating: Rotating
  readonly node: ClusterNode
  readonly unit: Askable
  readonly trusted: string
}

/** Throws a Failure unless it accepts our own certificate. */
async function proveAccepted(probe: Probe): Promise<void> {
  const { rotating, node, unit } = probe
  const answer = await answerTo(probe, readCredentials(rotating.run.auth, unit.health.as))
  if (answer !== 'accepted')
    throw new Failure(`${unit.unit} does not accept our certificate: ${answer}`, { node: node.name })
}

/** 403: a known user. 401, or an alert in the handshake: an unknown one. Any other answer is returned in words. */
async function answerTo({ rotating, node, unit, trusted }: Probe, as: Credentials): Promise<string> {
  const { auth } = rotating.run
  const trust = auth.bytes(auth.files.certificate(trusted))
  try {
    const { status } = await ask({ ...healthQuestion(rotating, node, unit.health), trust, as })
    if (status === 200 || status === 403) return 'accepted'
    return status === 401 ? 'refused' : `it answers ${status}`
  } catch (error) {
    if (!(error instanceof Failure) || isUnreached(error) || rotating.signal.aborted) throw error
    return isAlert(error) ? 'refused' : error.message
  }
}

/** "tlsv1 alert unknown ca", "ssl/tls alert bad certificate": RFC 8446, section 6.2. */
function isAlert({ cause }: Failure): boolean {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return /_ALERT_.*(CERTIFICATE|UNKNOWN_CA)/.test(code)
}

/** The CA before this one, and what it signs for a client. Throws a Failure if it is lost while still trusted. */
async function previousCa(run: Run, name: RotatedCa) {
  const { auth, now } = run
  const files = auth.files.pair(name)
  const cross = tryCertificate(auth, crossName(name))
  const folder = backupFolders(auth).find((each) => {
    const kept = readCertificate(readBackup(auth, each, auth.files.certificate(name)) ?? Buffer.of())
    return cross && kept && isIssuedBy(cross, kept)
  })
  const [pem, keyPem] = files.map((file) => folder && readBackup(auth, folder, file))
  const [ca, privateKey] = [pem && readCertificate(pem), keyPem && readPrivateKey(keyPem)]
  if (ca && privateKey) return { ca, client: await issueTest(run, { certificate: ca, privateKey }) }
  if (cross && cross.notAfter > now)
    throw new Failure(`can't verify that the previous CA is untrusted: it is not in ${auth.path}/backup`, {
      remedy: `restore its ${formatNames(files)} there from a backup, then ${runAgain}`,
    })
  return undefined
}

// From this ConfigMap aggregated API servers read whose client certificates to accept. kube-apiserver only adds CAs to
// it, and removes what has expired: after a rotation the previous CA would be trusted until it expires.
// https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
const clientCas = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
const field = 'client-ca-file'

/** Everything but the field of the CA is written back as it was read. */
const configMap = v.looseObject({ data: v.optional(v.record(v.string(), v.string()), {}) })

/** Removes the previous CA, by its key, once every API server has loaded the new one: any other would add it again. */
async function forgetPreviousCa(rotating: Rotating, node: ClusterNode, previous: Certificate): Promise<void> {
  const isPrevious = (der: Buffer) => readDerCertificate(der)?.publicKey.equals(previous.publicKey) === true
  const forget = (api: Client) => async () => {
    try {
      const map = await api.read(configMap, 'GET', clientCas)
      const cas = blocksIn(map.data[field] ?? '', 'CERTIFICATE')
      const others = cas.filter((der) => !isPrevious(der)).map(certificatePem)
      if (others.length < cas.length)
        await api.readText('PUT', clientCas, { ...map, data: { ...map.data, [field]: others.join('') } })
    } catch (error) {
      // Another API server, or another node's proof, has written the ConfigMap since it was read.
      if (isAnswer(error, 409)) return 'somebody else changed it each time'
      // Without the ConfigMap there is no aggregated API server.
      if (!isAnswer(error, 404)) throw error
    }
    return undefined
  }
  const why = await withApi(rotating, node, (api) => repeat(reloadTime, forget(api), rotating.signal))
  if (why !== undefined) throw new Failure(`${clientCas}: ${why}`, { node: node.name, remedy: runAgain })
}
