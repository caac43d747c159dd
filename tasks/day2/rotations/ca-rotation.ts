/**
 * `rotate ca`: the present CA signs a cross certificate for the next one, so every certificate is accepted by those who
 * trust either. What its files mean is in states.ts.
 */

import { createPublicKey } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain, usageFailure } from '../../../lib/failure.ts'
import {
  backUp,
  backupFolders,
  backups,
  type CaName,
  caName,
  crossName,
  etcdCaName,
  frontProxyCaName,
  kubeconfigFile,
  nextName,
  readBackup,
} from '../../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../../lib/files/plain-file.ts'
import type { Run, Work } from '../../../lib/graph/target.ts'
import { type Credentials, isAnswer, type Reply } from '../../../lib/kubernetes/client.ts'
import { isPreviousCa } from '../../../lib/kubernetes/identity.ts'
import { ask } from '../../../lib/kubernetes/probe.ts'
import {
  type Certificate,
  type CertSpec,
  extensionOf,
  isIssuedBy,
  readCertificate,
  readDerCertificate,
} from '../../../lib/pki/certificate.ts'
import { blocksIn, certificatePem, inside, oids } from '../../../lib/pki/encoding.ts'
import { readPair, readPrivateKey, tryCertificate } from '../../../lib/pki/pair.ts'
import { generatePrivateKey, issueCertificate, privateKeyPem } from '../../../lib/pki/x509.ts'
import { formatDate, formatNames } from '../../../lib/wording.ts'
import { caFiles, caRotationFiles, readCaState, refuseWithCopy, replacedCas } from '../../auth/states.ts'
import { type Asking, healthQuestion, isApiServer, withApi } from '../../inspect/component.ts'
import { reloadTime, repeat } from '../../inspect/look.ts'
import { frontProxy } from '../../layouts/shared.ts'
import { anyones, certTable, issuedBy, layoutOf } from '../../layouts/tables.ts'
import { checkUnitsOf } from '../install/check-units.ts'
import { lookAtUnits } from '../install/look-at-units.ts'
import { type Askable, askable } from './api-servers.ts'
import { usersOfOldCa, watchClients } from './old-clients.ts'
import { type Rotating, type Rotation, type Stage, snapshotReminder } from './rotation.ts'

/** Seconds from one line to the next while a stage waits. */
const countdown = 5
/** Milliseconds: the certificates that are made to be refused are valid that long before now and after. */
const day = 86_400_000

const bothOf = (name: CaName): Stage => ({
  name: 'both',
  title: 'sign with the next CA; trust both',
  changes: (file, cluster) => {
    const { kind, name: its } = layoutOf(cluster).files.parse(file) ?? {}
    if (kind === 'kubeconfig') return name === caName
    return kind === 'certificate' && issuedBy(cluster, name).some((row) => row.name === its && !row.irreplaceable)
  },
  proof: {
    [caName]:
      'after every client has reloaded (up to 5 min 30 s), clients that trust only the current or only the next CA connect to each server',
    [etcdCaName]: 'clients that trust only the current or only the next CA connect to each member',
    [frontProxyCaName]: 'each API server accepts X-Remote-User from front-proxy-client',
  }[name],
  async begin({ run, isForced }) {
    const { auth, cluster, now, command } = run
    if (name === caName) refuseWithCopy(run)
    const { present, cross: crossFile, nextKey } = caFiles(auth.files, name)
    const { certificate } = readPair(auth, name)
    if (certificate && !maySignCas(certificate))
      throw refusal(`${present} in ${auth.path} can't sign another CA (pathlen:0)`, [
        `renew it without that limit first: ${command('ca --renew')}, then ${command('bootstrap')}`,
      ])
    const cross = tryCertificate(auth, crossName(name))
    if (name === caName && cross && cross.notAfter > now && !isForced)
      throw refusal(
        `pods that loaded the previous ca.crt need ${crossFile} until ${formatDate(cross.notAfter)}; a second rotation breaks them`,
        [`restart those pods, then run ${command('rotate ca --force')}`],
      )
    backUp(auth, [crossFile], now)
    // The next run makes the rest from it.
    const key = await generatePrivateKey(cluster.certificates.key)
    auth.write(nextKey, privateKeyPem(key), secretMode, { durable: true })
  },
  async prove(rotating, node, tell) {
    const { run } = rotating
    await untilPolled(rotating, node, tell)
    const units = await askableWith(rotating, node, name)
    for (const unit of units)
      for (const trusted of serves(name) ? [name, nextName(name)] : [caName]) {
        const as = ownCredentials(run, unit.health.as)
        const reply = await askHealth(rotating, node, unit, {
          ca: run.auth.bytes(run.auth.files.certificate(trusted)),
          as,
        })
        if (answerTo(reply) !== 'accepted')
          throw new Failure(`${unit.unit} answered our certificate with status ${reply.status}`, { node: node.name })
      }
    return units.map(({ unit }) => unit)
  },
  async undo({ run: { auth, now } }) {
    const { next, nextKey, cross } = caFiles(auth.files, name)
    backUp(auth, caRotationFiles(auth.files, name), now)
    // The key goes last: until then the stage stays the same.
    auth.remove(next)
    auth.remove(cross)
    auth.remove(nextKey)
  },
})

const finishingOf = (name: CaName): Stage => ({
  name: 'finishing',
  title: 'trust only the next CA',
  changes: (file, cluster) => {
    const { parse, certificate, names } = layoutOf(cluster).files
    const { kind, name: its } = parse(file) ?? {}
    if (its === name) return true
    return name === caName && (kind === 'kubeconfig' || file === certificate(names.tokens))
  },
  proof: {
    [caName]:
      'after every client has reloaded (up to 5 min 30 s), each server that requests a certificate rejects a test certificate of the old CA',
    [etcdCaName]:
      'each member rejects the certificates of a worker, a user, the admin and the API server, and a test certificate of the old CA',
    [frontProxyCaName]: 'each API server rejects a test certificate of front-proxy-client from the old CA',
  }[name],
  isLast: true,
  ...(name === caName && { usedBy: usersOfOldCa, watch: watchClients }),
  async begin({ run: { auth, now } }) {
    const { present, next } = caFiles(auth.files, name)
    backUp(auth, auth.files.pair(name), now)
    auth.write(present, auth.bytes(next), publicMode, { durable: true })
  },
  async prove(rotating, node, tell) {
    await untilPolled(rotating, node, tell)
    const previous = await signByPreviousCa(rotating, name)
    const strangers = strangersTo(rotating.run, name)
    if (!previous && strangers.length === 0) return []
    const units = await askableWith(rotating, node, name)
    for (const unit of units)
      for (const as of [...(previous ? [previous.as(unit.health.as)] : []), ...strangers])
        if (!(await untilRefused(rotating, node, unit, { as, ca: serves(name) ? name : caName })))
          throw new Failure(`${unit.unit} still accepts certificates of the old CA`, {
            node: node.name,
            remedy: `check which CA it trusts: systemctl cat ${unit.service}`,
          })
    if (previous && units.some(isApiServer)) await forgetPreviousCa(rotating, node, { name, previous: previous.ca })
    return units.map(({ unit }) => unit)
  },
})

/** Credentials of the cluster's other CA: etcd has no other guard than the CA that it asks for. */
function strangersTo(run: Run, ca: string): Credentials[] {
  if (ca !== etcdCaName) return []
  const { admin, api } = run.auth.files.names
  const names = [admin, api, ...anyones(run.cluster).flatMap(({ name }) => name)]
  return names.map((each) => ownCredentials(run, each))
}

/** False for the front proxy's, which signs a client alone. */
const serves = (name: CaName): boolean => name !== frontProxyCaName

/**
 * The units that take certificates of that CA. No unit's health shows whose word an API server takes: it is asked in a
 * user's name.
 */
async function askableWith(rotating: Rotating, node: ClusterNode, name: CaName): Promise<Askable[]> {
  const units = await askable(rotating, node)
  if (serves(name)) return units.filter(({ health: { ca = caName } }) => ca === name)
  return units.filter(isApiServer).map((unit) => ({
    ...unit,
    health: { ...unit.health, as: frontProxy.client, user: 'harderway-probe' },
  }))
}

/** Who has not read the new files yet knows only the old CA: the next stage would cut it off. */
async function untilPolled({ run, signal }: Rotating, node: ClusterNode, tell: Work['tell']): Promise<void> {
  for (;;) {
    const found = await lookAtUnits(run, node)
    const [last] = checkUnitsOf(run, found)
      .map(({ unit: { unit }, reloadsBy = 0 }) => ({ unit, seconds: Math.ceil(reloadsBy - found.places.now) }))
      .toSorted((a, b) => b.seconds - a.seconds)
    if (!last || last.seconds <= 0) return
    for (let left = last.seconds; left > 0; left -= countdown) {
      tell({ doing: 'polled by', unit: last.unit, seconds: left })
      await delay(Math.min(left, countdown) * 1000, undefined, { signal })
    }
  }
}

const rotationOfCa = (name: CaName) => ({
  name,
  stages: [bothOf(name), finishingOf(name)],
  undoesUnclear: true as const,
  stageOf: (run: Run) => readCaState(run, name).stage,
  finishedIn({ auth }: Pick<Run, 'auth'>) {
    const cross = tryCertificate(auth, crossName(name))
    return backupFolders(auth).find((folder) => {
      const ca = readCertificate(readBackup(auth, folder, auth.files.certificate(name)) ?? Buffer.of())
      return cross && ca && isIssuedBy(cross, ca)
    })
  },
})

export const caRotation: Rotation = {
  ...rotationOfCa(caName),
  what: 'the CA',
  unseen: ({ users, install, revoked }) => [
    ...(revoked
      ? ['users in system:masters, clients of etcd and kubelets, and clients without a request for 11 min']
      : ['other clients with certificates of the old CA; with revoked: [] in cluster.yaml, API servers count them']),
    ...(install === false ? [] : [...install.units].filter(([, unit]) => unit === false)).map(
      ([unit]) => `${unit}, which install.units leaves out; its certificates of the old CA will be rejected`,
    ),
    ...(users.length > 3
      ? [
          `whether ${formatNames(users.map(({ name }) => name))} have their new kubeconfigs; the old ones will be rejected`,
        ]
      : users.map(({ name }) => `whether ${name} has the new ${kubeconfigFile(name)}; the old one will be rejected`)),
    'other copies of kubeconfigs; those of the old CA will be rejected',
    'pods that load ca.crt only once; the cross certificate keeps them working until the old CA expires',
    'certificates that kube-controller-manager signed for CertificateSigningRequests',
  ],
}

export const etcdCaRotation: Rotation = {
  ...rotationOfCa(etcdCaName),
  what: 'the etcd CA',
  reminder: snapshotReminder,
  refuse({ cluster, command }) {
    const { without } = layoutOf(cluster)
    const why = without.get('etcd.ca')
    if (why !== undefined) throw usageFailure(`layout ${cluster.layout} has no etcd CA: ${why}`)
    if (cluster.etcd.ca === 'shared')
      throw usageFailure(
        'etcd has no CA of its own to rotate (etcd.ca: shared in cluster.yaml)',
        `to give etcd its own CA, set etcd: { ca: own } there, then run ${command(`rotate ${etcdCaName}`)}`,
      )
  },
  // etcd has the CA of the cluster until the last stage; under a name of its own nothing changes for it.
  prepare({ auth, cluster }) {
    const [certificate, key] = auth.files.pair(etcdCaName)
    const [ca, caKey] = auth.files.pair(caName).map((file) => auth.tryBytes(file))
    const itsCa = tryCertificate(auth, caName)
    const issued = issuedBy(cluster, etcdCaName).flatMap((row) => tryCertificate(auth, row.name) ?? [])
    const isLost = issued.some(({ x509 }) => itsCa && !x509.verify(itsCa.publicKey))
    if (auth.read(certificate) || isLost || !ca || !caKey) return
    auth.write(key, caKey, secretMode, { durable: true })
    auth.write(certificate, ca, publicMode, { durable: true })
  },
  unseen: () => ['other clients of etcd, such as snapshot jobs or monitoring; their certificates will be rejected'],
}

export const frontProxyCaRotation: Rotation = {
  ...rotationOfCa(frontProxyCaName),
  what: 'the front-proxy CA',
  refuse({ cluster }) {
    if (!cluster.aggregation)
      throw usageFailure('no front-proxy CA: cluster.yaml has no aggregation', 'set aggregation: true')
  },
  unseen: () => ['servers of aggregated APIs that do not reload the ConfigMap extension-apiserver-authentication'],
}

/** False with a path length of 0, which leaves no room for another CA: RFC 5280, 4.2.1.9. */
function maySignCas(ca: Certificate): boolean {
  const constraints = extensionOf(ca, oids.basicConstraints)
  const limit = constraints && inside(constraints).find(({ tag }) => tag === 0x02)
  return limit === undefined || limit.content.some((byte) => byte !== 0)
}

/** Undefined if there was no CA before ours, or its key is gone. */
async function signByPreviousCa({ run }: Rotating, name: CaName) {
  const { auth, cluster, now } = run
  const keys = backups(auth, auth.files.key(name)).flatMap((pem) => readPrivateKey(pem) ?? [])
  const privateKey = keys.find((key) => isPreviousCa(createPublicKey(key), auth, name))
  const cross = tryCertificate(auth, crossName(name))
  const ca = cross && replacedCas(auth, name).find((each) => isIssuedBy(cross, each))
  if (cross && cross.notAfter > now && !(privateKey && ca))
    throw new Failure(`can't verify that the previous CA is untrusted: it is not in ${auth.path}/backup`, {
      remedy: `restore its ${formatNames(auth.files.pair(name))} there from a backup, then ${runAgain}`,
    })
  if (!privateKey || !ca) return undefined
  const key = await generatePrivateKey('ecdsa-p256')
  /** Credentials as those of that name, signed just now. */
  const as = (client: string): Credentials => {
    const row = certTable(cluster).find((each) => each.name === client)
    if (!row) throw new Error(`the table has no ${client}`)
    const profile: CertSpec = { ...row.profile, key: 'ecdsa-p256' }
    // The node's clock may be wrong: a certificate that has expired there is refused whoever issued it.
    const at = Date.now()
    const notBefore = new Date(Math.max(at - day, ca.notBefore.getTime()))
    const notAfter = new Date(Math.min(at + day, ca.notAfter.getTime()))
    const issuer = { subject: ca.subject, keyId: ca.subjectKeyId, privateKey }
    const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), notBefore, notAfter }, issuer)
    return { certificate: Buffer.from(certificate), key: Buffer.from(privateKeyPem(key)) }
  }
  return { ca, as }
}

/** A stage is proven after a run in which everything was fresh, so they are there. */
function ownCredentials({ auth }: Run, name: string): Credentials {
  return { certificate: auth.bytes(auth.files.certificate(name)), key: auth.bytes(auth.files.key(name)) }
}

/** An alert in the handshake, or 401. No answer at all proves nothing. */
async function untilRefused(
  rotating: Rotating,
  node: ClusterNode,
  unit: Askable,
  refused: { readonly as: Credentials; readonly ca: CaName },
): Promise<boolean> {
  const { run, signal } = rotating
  const ca = run.auth.bytes(run.auth.files.certificate(refused.ca))
  const tried = (as: Credentials) =>
    askHealth(rotating, node, unit, { ca, as }).then(answerTo, (error) => {
      if (!(error instanceof Failure) || signal.aborted) throw error
      return isAlert(error) ? 'refused' : 'unclear'
    })
  const look = async () => {
    const answer = await tried(refused.as)
    return answer === 'refused' ? undefined : answer
  }
  const last = await repeat(reloadTime, look, signal)
  if (last === 'accepted') return false
  // It answers our own certificate, so it was that certificate which it refused.
  if (last === 'unclear' || (await tried(ownCredentials(run, unit.health.as))) !== 'accepted')
    throw new Failure(`${unit.unit} does not answer`, { node: node.name })
  return true
}

/** "tlsv1 alert unknown ca", "ssl/tls alert bad certificate": RFC 8446, section 6.2. */
function isAlert({ cause }: Failure): boolean {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return /_ALERT_.*(CERTIFICATE|UNKNOWN_CA)/.test(code)
}

// The ConfigMap from which aggregated API servers read whose client certificates to accept. kube-apiserver only adds to
// it, and removes what has expired: after a rotation the previous CA would be trusted until it expires.
// https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
const clientCas = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
const fieldOf = (name: CaName) => (name === frontProxyCaName ? 'requestheader-client-ca-file' : 'client-ca-file')
const mostTries = 10

/** Everything but that field is written back as it was read. */
const configMap = v.looseObject({ data: v.optional(v.record(v.string(), v.string()), {}) })

/** Only once every API server has loaded the new CA alone: else one of them would add the previous CA again. */
async function forgetPreviousCa(
  asking: Asking,
  node: ClusterNode,
  { name, previous }: { readonly name: CaName; readonly previous: Certificate },
): Promise<void> {
  const field = fieldOf(name)
  // By its key: a CA that was renewed is in there with each of its certificates.
  const isPrevious = (der: Buffer) => readDerCertificate(der)?.publicKey.equals(previous.publicKey) === true
  await withApi(asking, node, async (api) => {
    for (let tries = 0; tries < mostTries; tries++)
      try {
        const map = await api.readAs(configMap, 'GET', clientCas)
        const held = blocksIn(map.data[field] ?? '', 'CERTIFICATE')
        if (!held.some(isPrevious)) return
        const left = held.filter((der) => !isPrevious(der)).map(certificatePem)
        await api.read('PUT', clientCas, { ...map, data: { ...map.data, [field]: left.join('') } })
        return
      } catch (error) {
        // No aggregated API server was given any.
        if (isAnswer(error, 404)) return
        // Another API server wrote it meanwhile.
        if (!isAnswer(error, 409)) throw error
      }
    throw new Failure(`${clientCas} was changed by somebody else each time`, { remedy: runAgain })
  })
}

/** Throws a Failure without an answer: the server's certificate is not of that CA, or the handshake refused ours. */
async function askHealth(
  asking: Asking,
  node: ClusterNode,
  { health }: Askable,
  given: { readonly ca: Buffer; readonly as: Credentials },
): Promise<Reply> {
  return ask({ ...healthQuestion(asking, node, health), trust: given.ca, as: given.as })
}

/**
 * What the answer says of the certificate: 403 is that to a known user without permission; anything else may have other
 * reasons.
 */
function answerTo({ status }: Reply): 'accepted' | 'refused' | 'unclear' {
  if (status === 200 || status === 403) return 'accepted'
  return status === 401 ? 'refused' : 'unclear'
}
