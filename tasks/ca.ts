/** Phase `ca`: the root of trust, made once; every other certificate hangs on it. */
import type { AuthDir } from '../lib/auth-dir.ts'
import { compareKeyKind, compareWithProfile } from '../lib/certificate.ts'
import type { Cluster } from '../lib/cluster.ts'
import { Failure, refusal } from '../lib/failure.ts'
import { publicMode, secretMode } from '../lib/files.ts'
import type { Target, Verdict, Work } from '../lib/graph.ts'
import { certificateFile, keyFile, type Pair, readPair, validityPeriod } from '../lib/pair.ts'
import { formatDate, formatNames, formatReasons } from '../lib/reason.ts'
import type { Workspace } from '../lib/workspace.ts'
import { generatePrivateKey, type Profile, privateKeyPem, selfSign } from '../lib/x509.ts'
import { certTable } from './cert-table.ts'

const certificate = certificateFile('ca')
const key = keyFile('ca')
const restore = `put ${certificate} and ${key} back, from a backup or from a control node (its folder of ssh.directory)`
const startOver = 'or give up this cluster identity, and have every certificate made anew: npm run task -- ca --force'
const renew = 'certify the same key anew: npm run task -- ca --renew'

export function caTargets(cluster: Cluster): Target[] {
  return certTable(cluster)
    .filter(({ phase }) => phase === 'ca')
    .map(({ profile }) => ({
      id: 'ca',
      phase: 'ca',
      needs: [],
      makes: [certificate, key],
      lane: 'cpu',
      irreplaceable: 'whole',
      check: (at) => check(at, profile),
      build: (at, work) => build(at, profile, work),
    }))
}

function check(at: Workspace, profile: Profile): Verdict {
  const pair = readPair(at.auth, 'ca')
  if (isAbsent(pair)) refuseNewCa(at.auth)
  else refuseOtherCa(pair, profile, at.auth)
  return pair.certificate ? judgeTimes(pair, pair.certificate, at) : { reasons: pair.reasons }
}

function isAbsent({ reasons }: Pair): boolean {
  return reasons.filter(({ kind }) => kind === 'missing').length === 2
}

/** Without a CA, whatever was issued under an earlier one would become worthless. */
function refuseNewCa(auth: AuthDir): void {
  const made = auth
    .names()
    .filter((name) => (name.endsWith('.pem') && !name.endsWith('-key.pem')) || name.endsWith('.kubeconfig'))
  if (made.length > 0)
    throw refusal(`${auth.path} has no ${certificate} and ${key}, but ${formatNames(made)}, made under an earlier CA`, [
      restore,
      startOver,
    ])
}

/** A certificate alone may be missing: it can be made anew from the key. */
function refuseOtherCa(pair: Pair, profile: Profile, auth: AuthDir): void {
  const broken = pair.reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && !(reason.kind === 'missing' && reason.path === certificate),
  )
  if (broken.length > 0) throw refusal(`the CA in ${auth.path}: ${formatReasons(broken)}`, [restore, startOver])
  const asked = pair.certificate
    ? compareWithProfile(pair.certificate, profile)
    : pair.key
      ? compareKeyKind(pair.key, profile)
      : []
  if (asked.length === 0) return
  const keep = 'change cluster.yaml to what the CA has'
  throw refusal(`the CA in ${auth.path} is not what cluster.yaml asks for: ${formatReasons(asked)}`, [keep, startOver])
}

function judgeTimes(
  { reasons }: Pair,
  { notBefore, notAfter }: { notBefore: Date; notAfter: Date },
  { now, cluster, auth }: Workspace,
): Verdict {
  if (notAfter <= now) throw refusal(`the CA in ${auth.path} expired on ${formatDate(notAfter)}`, [renew])
  if (notBefore > now)
    throw refusal(
      `the CA in ${auth.path} is not valid before ${notBefore.toISOString()}, and here it is ${now.toISOString()}`,
      ["set this machine's clock"],
    )
  const isEnding = notAfter.getTime() - now.getTime() <= cluster.certificates.renewBefore
  const warning = isEnding
    ? `the CA ends on ${formatDate(notAfter)}, and all that it issued with it; ${renew}`
    : undefined
  return { reasons, until: notAfter, warning }
}

async function build(
  { auth, now, cluster }: Workspace,
  profile: Profile,
  { force }: Work,
): Promise<string | undefined> {
  const pair = readPair(auth, 'ca')
  if (force === 'renew' && isAbsent(pair))
    throw new Failure(`${auth.path} has no CA to renew`, { remedy: 'npm run task -- ca makes one' })
  if (force === 'renew') refuseOtherCa(pair, profile, auth)
  const kept = force === 'replace' ? undefined : pair.key
  const old = force && auth.backUp([certificate, key], now)
  // At no moment may a certificate stand beside a key that is not its own.
  if (!kept) auth.remove(certificate)
  const privateKey = kept ?? (await generatePrivateKey(profile.key))
  if (!kept) auth.write(key, privateKeyPem(privateKey), secretMode, { durable: true })
  // What was issued under the old certificate names it by these bytes.
  const subject = kept && pair.certificate?.subject
  const pem = selfSign({ profile, ...validityPeriod(now, cluster.certificates.caValidity) }, privateKey, subject)
  auth.write(certificate, pem, publicMode, { durable: true })
  if (!old) return undefined
  return force === 'renew'
    ? `the old ${certificate} is in ${old}; now: npm run bootstrap, then restart what has ca.pem open`
    : `the old CA is in ${old}; now: npm run bootstrap -- --replace-identity, then restart every component on every node`
}
