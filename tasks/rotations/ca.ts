/** `rotate ca`: the next CA is cross-signed by the present one, so that those who trust either find every certificate right. */

import { createPublicKey } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { backUp, backups } from '../../lib/files/backup.ts'
import {
  caName,
  certificateFile,
  crossName,
  keyFile,
  kubeconfigFile,
  nextName,
  pairFiles,
  parseFileName,
} from '../../lib/files/names.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import type { Credentials } from '../../lib/kubernetes/probe.ts'
import { caRotationFiles, isEarlierCa } from '../../lib/kubernetes/rotation.ts'
import { type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { inside } from '../../lib/pki/der.ts'
import { extensionOf } from '../../lib/pki/fields.ts'
import { oids } from '../../lib/pki/oids.ts'
import { readPair, tryCertificate, validityPeriod } from '../../lib/pki/pair.ts'
import { readPrivateKey } from '../../lib/pki/private-key.ts'
import { generatePrivateKey, issueCertificate, privateKeyPem } from '../../lib/pki/x509.ts'
import { formatDate } from '../../lib/wording.ts'
import { credentialsOf, isApiServer } from '../nodes/component.ts'
import { reloadTime, repeat } from '../nodes/repeat.ts'
import { certTable } from '../tables/certs.ts'
import { readRotation } from './ca-state.ts'
import { forgetEarlierCa } from './client-cas.ts'
import { type Askable, askable, askHealth, isAccepted } from './components.ts'
import type { Rotating, Rotation, Stage } from './rotation.ts'

const next = nextName(caName)
/** Of a certificate that is made to be refused, in milliseconds. */
const tenMinutes = 600_000

const both: Stage = {
  name: 'both',
  title: 'the next CA signs, the present one is trusted as well',
  changes: (file) => {
    const { kind, name } = parseFileName(file) ?? {}
    return kind === 'kubeconfig' || (kind === 'certificate' && name !== caName && name !== 'service-account')
  },
  proof:
    'each server is asked twice: by somebody who trusts the present CA alone, and by one who trusts the next alone',
  async begin({ workspace: { auth, cluster, now, command }, isForced }) {
    const { certificate } = readPair(auth, caName)
    if (certificate && !maySignCas(certificate))
      throw refusal(`${certificateFile(caName)} in ${auth.path} may not sign another CA (pathlen:0)`, [
        `renew it without that limit first: ${command('ca --renew')}, then ${command('bootstrap')}`,
      ])
    const cross = tryCertificate(auth, crossName)
    if (cross && cross.notAfter > now && !isForced)
      throw refusal(
        `pods that read the ca.crt of the CA before this one go on by ${certificateFile(crossName)}, until ${formatDate(cross.notAfter)}: a second rotation ends that`,
        [`restart what may be such, then: ${command('rotate ca --force')}`],
      )
    backUp(auth, [certificateFile(crossName)], now)
    // The rest is made of it, by whichever run comes next.
    const key = await generatePrivateKey(cluster.certificates.key)
    auth.write(keyFile(next), privateKeyPem(key), secretMode, { durable: true })
  },
  async prove(rotating, node) {
    const { workspace } = rotating
    const units = await askable(rotating, node)
    for (const unit of units)
      for (const name of [caName, next]) {
        const as = ownCredentials(workspace, unit)
        const reply = await askHealth(rotating, node, unit, { ca: workspace.auth.bytes(certificateFile(name)), as })
        if (!isAccepted(reply))
          throw new Failure(`${unit.unit} answers ${reply.status} to our certificate`, { node: node.name })
      }
    return units.map(({ unit }) => unit)
  },
  async undo({ workspace: { auth, now } }) {
    backUp(auth, caRotationFiles, now)
    // The key last: until then it is the stage that it was.
    auth.remove(certificateFile(next))
    const earlier = crossOfPresent(auth)
    if (earlier) auth.write(certificateFile(crossName), earlier, publicMode, { durable: true })
    else auth.remove(certificateFile(crossName))
    auth.remove(keyFile(next))
  },
}

const finished: Stage = {
  name: 'finishing',
  title: 'the next CA is the CA, and the earlier one opens nothing',
  changes: (file) => {
    const { kind, name } = parseFileName(file) ?? {}
    return kind === 'kubeconfig' || name === caName || file === certificateFile('service-account')
  },
  proof: 'a certificate of the earlier CA, made for this, is refused by each API server, etcd and kubelet',
  isLast: true,
  async heldBy(rotating) {
    const asked = await Promise.all(rotating.workspace.cluster.nodes.map((node) => askable(rotating, node)))
    return asked.some((units) => units.length > 0) ? [] : ['whoever it may be: no component runs that could tell']
  },
  async begin({ workspace: { auth, now } }) {
    backUp(auth, pairFiles(caName), now)
    auth.write(certificateFile(caName), auth.bytes(certificateFile(next)), publicMode, { durable: true })
  },
  async prove(rotating, node) {
    const earlier = await madeByEarlierCa(rotating)
    if (!earlier) return []
    const units = await askable(rotating, node)
    for (const unit of units) {
      const isRefused = await untilRefused(rotating, node, { unit, ...earlier })
      if (!isRefused)
        throw new Failure(`${unit.unit} still accepts certificates of the earlier CA`, {
          node: node.name,
          remedy: `see which CA it trusts: systemctl cat ${unit.unit}`,
        })
    }
    if (units.some(isApiServer)) await forgetEarlierCa(rotating, node, earlier.ca)
    return units.map(({ unit }) => unit)
  },
}

export const caRotation: Rotation = {
  name: 'ca',
  what: 'the CA',
  stages: [both, finished],
  undoesUnclear: true,
  stageOf: (workspace) => readRotation(workspace).stage,
  unseen: ({ users, install }) => [
    ...(install === false ? [] : [...install.units].filter(([, told]) => told === false)).map(
      ([unit]) =>
        `${unit}, which install.units leaves out: what it shows is of the earlier CA, and refused from then on`,
    ),
    ...users.map(
      ({ name }) =>
        `whether ${name} has the new ${kubeconfigFile(name)} already: the one before is refused from then on`,
    ),
    'kubeconfigs that were handed out: their certificates are of the earlier CA, and are refused from then on',
    "pods that read their ca.crt once: they go on by the cross certificate until the earlier CA's end",
    'certificates that kube-controller-manager signed for CertificateSigningRequests',
  ],
}

/** The one that led to the present CA before the next one had a cross certificate. */
function crossOfPresent(auth: Workspace['auth']): Buffer | undefined {
  const present = tryCertificate(auth, caName)
  return backups(auth, certificateFile(crossName)).find((pem) => {
    const cross = readCertificate(pem)
    return present && cross?.publicKey.equals(present.publicKey) && cross.subject.equals(present.subject)
  })
}

/** Without a limit on the length of chains that leaves no room for one more CA: RFC 5280, 4.2.1.9. */
function maySignCas({ fields }: Certificate): boolean {
  const constraints = extensionOf(fields, oids.basicConstraints)
  const limit = constraints && inside(constraints).find(({ tag }) => tag === 0x02)
  return limit === undefined || limit.content.some((byte) => byte !== 0)
}

/** PEM of that CA, and credentials as the admin's, that it has just signed; undefined where none was before ours, or its key is gone. */
async function madeByEarlierCa({ workspace }: Rotating) {
  const { auth, cluster } = workspace
  const read = (file: string) => auth.tryBytes(file)
  const keys = backups(auth, keyFile(caName)).flatMap((pem) => readPrivateKey(pem) ?? [])
  const privateKey = keys.find((key) => isEarlierCa(createPublicKey(key), read))
  const cross = tryCertificate(auth, crossName)
  const pem = backups(auth, certificateFile(caName)).find((each) => {
    const certificate = readCertificate(each)
    return certificate && cross && isIssuedBy(cross, certificate)
  })
  const ca = pem && readCertificate(pem)
  if (cross && cross.notAfter > workspace.now && !(privateKey && ca))
    throw new Failure(`the CA before this one is not in ${auth.path}/backup: that it opens nothing is not proven`, {
      remedy: `restore its ca.pem and ca-key.pem there from a backup, then ${runAgain}`,
    })
  if (!privateKey || !ca) return undefined
  const key = await generatePrivateKey('ecdsa-p256')
  const as = (name: string) => {
    const row = certTable(cluster).find((each) => each.name === name)
    if (!row) throw new Error(`the table has no ${name}`)
    const certificate = issueCertificate(
      {
        profile: { ...row.profile, key: 'ecdsa-p256' },
        publicKey: createPublicKey(key),
        ...validityPeriod(new Date(), 2 * tenMinutes, ca.notAfter),
      },
      { subject: ca.subject, keyId: ca.subjectKeyId, privateKey },
    )
    return { certificate: Buffer.from(certificate), key: Buffer.from(privateKeyPem(key)) }
  }
  return { ca: pem, as }
}

/** Throws a Failure where auth/ has none: nothing is proven then. */
function ownCredentials(workspace: Workspace, { health: { as: name } }: Askable): Credentials {
  const own = credentialsOf(workspace, name)
  if (own) return own
  throw new Failure(`${workspace.auth.path} has no ${certificateFile(name)}: there is nothing to ask with`, {
    remedy: workspace.command('certs'),
  })
}

interface Refusing {
  readonly unit: Askable
  readonly as: (name: string) => Credentials
}

/** In the handshake, or by 401. */
async function untilRefused(rotating: Rotating, node: ClusterNode, { unit, as }: Refusing): Promise<boolean> {
  const { workspace, signal } = rotating
  const ca = workspace.auth.bytes(certificateFile(caName))
  const isAnswered = async (credentials: Credentials) =>
    askHealth(rotating, node, unit, { ca, as: credentials }).then(isAccepted, (error) => {
      if (error instanceof Failure && !signal.aborted) return false
      throw error
    })
  const why = await repeat(
    reloadTime,
    async () => ((await isAnswered(as(unit.health.as))) ? 'accepted' : undefined),
    signal,
  )
  if (why !== undefined) return false
  // That it answers at all is proof that it was the certificate.
  if (!(await isAnswered(ownCredentials(workspace, unit))))
    throw new Failure(`${unit.unit} does not answer`, { node: node.name })
  return true
}
