/** `rotate service-account`: all accept the next key before any signs with it. Stages: states.ts. */

import { createHash, type KeyObject } from 'node:crypto'
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { type AuthDir, backUp, backups } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { Client } from '../../lib/kubernetes/client.ts'
import type { PlacesState } from '../../lib/node/state.ts'
import { certificatePem } from '../../lib/pki/encoding.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import { texts } from '../../lib/results.ts'
import { publicKeyIn, readTokenPair, readTokenState, tokenFiles } from '../auth/states.ts'
import type { Run } from '../cluster-target.ts'
import { readMetrics, withApi } from '../inspect/component.ts'
import { apiServer } from '../layouts/layout.ts'
import { serviceOf } from '../layouts/tables.ts'
import type { Rotating, Rotation, Stage } from './rotations.ts'
import { lookAtApiServer } from './survey.ts'

/** Seconds: kubelets renew a pod's token when four fifths of its 3,607 seconds are over. */
const refreshTime = 3000

const published: Stage = {
  name: 'published',
  title: 'sign with the current key; accept both',
  proof: 'each API server publishes both keys (/openid/v1/jwks)',
  async begin({ run: { auth, cluster } }) {
    const next = await generatePrivateKey(cluster.certificates.key)
    auth.writeDurably([tokenFiles(auth.files).nextKey, privateKeyPem(next), secretMode])
  },
  prove,
  async undoBreaks({ run: { auth }, isForced }) {
    const { key, nextKey } = tokenFiles(auth.files)
    // The undo of the stage in which it signed has kept it.
    const next = publicKeyIn(auth.tryBytes(nextKey))
    const hasSigned = next && backups(auth, key).some((pem) => publicKeyIn(pem)?.equals(next))
    return hasSigned && !isForced ? ['tokens that the next key has already signed (--force makes them invalid)'] : []
  },
  async undo({ run: { auth, now } }) {
    const { certificate, nextKey } = tokenFiles(auth.files)
    backUp(auth, [nextKey, certificate], now)
    // First the certificates: with the next key gone, it would count as an old key that is still accepted.
    dropOtherKeys({ auth })
    auth.remove(nextKey)
  },
}

const signing: Stage = {
  name: 'signing',
  title: 'sign with the next key; accept both',
  proof: 'each API server signs a new token with the next key',
  async begin({ run: { auth, now } }) {
    const { key, nextKey } = tokenFiles(auth.files)
    backUp(auth, [key], now)
    auth.writeDurably([key, auth.bytes(nextKey), secretMode])
  },
  prove,
  async undo({ run: { auth, now } }) {
    const { key, nextKey } = tokenFiles(auth.files)
    const { others } = readTokenState({ auth })
    const old = backups(auth, key).find((pem) => others.some((each) => publicKeyIn(pem)?.equals(each)))
    if (!old)
      throw new Failure(`the old key is not in ${auth.path}/backup`, { remedy: 'restore it there from a backup' })
    backUp(auth, [key], now)
    auth.writeDurably([nextKey, auth.bytes(key), secretMode])
    auth.writeDurably([key, old, secretMode])
  },
}

const finishing: Stage = {
  name: 'finishing',
  title: 'reject tokens of the old key',
  proof: 'each API server publishes only the new key and signs a new token with it',
  usedBy: findOldTokens,
  async begin({ run: { auth, now } }) {
    backUp(auth, [tokenFiles(auth.files).certificate], now)
    dropOtherKeys({ auth })
  },
  prove,
}

export const serviceAccountRotation: Rotation = {
  name: 'service-account',
  what: 'the service-account key',
  stages: [published, signing, finishing],
  stageOf: (run) => readTokenState(run).stage,
  wasRun: ({ auth }) => backups(auth, tokenFiles(auth.files).key).length > 0,
}

function signingKid({ auth }: Pick<Run, 'auth'>): string | undefined {
  const present = publicKeyIn(auth.tryBytes(tokenFiles(auth.files).key))
  return present && kidOf(present)
}

const jwks = v.object({ keys: v.array(v.object({ kid: v.string() })) })
const tokenRequest = v.object({ status: v.object({ token: v.string() }) })
const tokenSecret = v.object({
  metadata: v.object({ namespace: v.string(), name: v.string() }),
  data: v.nullish(v.object({ token: v.optional(v.string(), '') }), { token: '' }),
})
const secretList = v.object({ items: v.nullish(v.array(tokenSecret), []) })

/** In each stage: it accepts the keys in the file of certificates alone, and signs with the key beside it. */
async function prove(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  if (!(await lookAtApiServer(rotating.run, node))) return []
  await withApi(rotating, node, async (api) => {
    await proveKeys(api, rotating.run)
    await proveSigner(api, rotating.run)
  })
  return [apiServer]
}

async function proveKeys(api: Client, run: Run): Promise<void> {
  const desired = [signingKid(run), ...readTokenState(run).others.map(kidOf)]
  const { keys } = await api.read(jwks, 'GET', '/openid/v1/jwks')
  const kids = keys.map(({ kid }) => kid)
  if (kids.length !== desired.length || !desired.every((kid) => kid !== undefined && kids.includes(kid)))
    throw new Failure(`the API server accepts other keys than those in ${tokenFiles(run.auth.files).certificate}`, {
      remedy: `check its --service-account-key-file:\n    systemctl cat ${serviceOf(run.cluster, apiServer)}`,
    })
}

async function proveSigner(api: Client, run: Run): Promise<void> {
  const desired = signingKid(run)
  if (desired === undefined || (await kidOfNewToken(api)) !== desired)
    throw new Failure(`the API server signs tokens with another key than ${tokenFiles(run.auth.files).key}`, {
      remedy: `check its --service-account-signing-key-file:\n    systemctl cat ${serviceOf(run.cluster, apiServer)}`,
    })
}

/** The key id of a token that is valid for ten minutes, bound to nothing, and discarded here. */
async function kidOfNewToken(api: Client): Promise<string | undefined> {
  const path = '/api/v1/namespaces/kube-system/serviceaccounts/default/token'
  const { status } = await api.read(tokenRequest, 'POST', path, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: 600 },
  })
  return kidIn(status.token)
}

async function findOldTokens(rotating: Rotating): Promise<string[]> {
  const { cluster, limits } = rotating.run
  const found = await limits.node.map(cluster.nodes, async (node) => {
    const places = await lookAtApiServer(rotating.run, node)
    return places ? [{ node, clients: await findOldClients(rotating, node, places) }] : []
  })
  const [first, ...more] = found.flat()
  if (!first) return []
  return [...(await findLegacySecrets(rotating, first.node)), ...[first, ...more].flatMap(({ clients }) => clients)]
}

/** https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets */
async function findLegacySecrets(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  const kid = signingKid(rotating.run)
  const path = '/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fservice-account-token'
  const { items } = await withApi(rotating, node, (api) => api.read(secretList, 'GET', path))
  return items.flatMap((secret) => oldTokenIn(secret, kid) ?? [])
}

/** Undefined if the key of that id signed its token. A Secret without a token will get one from that key. */
export function oldTokenIn(
  { metadata: { namespace, name }, data: { token } }: v.InferOutput<typeof tokenSecret>,
  kid: string | undefined,
): string | undefined {
  if (token === '' || kidIn(Buffer.from(token, 'base64').toString()) === kid) return undefined
  return `the token in Secret ${namespace}/${name} (remove data.token; Kubernetes creates a new one)`
}

/** Of an API server since its start: tokens older than an hour, which their pod has read only once. */
async function findOldClients(rotating: Rotating, node: ClusterNode, { units, now }: PlacesState): Promise<string[]> {
  const { started = now } = units.get(apiServer) ?? {}
  const age = Math.floor(now - started)
  const metrics = await readMetrics(rotating, node)
  const stale = Number(/^serviceaccount_stale_tokens_total (\S+)$/m.exec(metrics)?.[1] ?? Number.NaN)
  return texts(
    age < refreshTime &&
      `pods, whose tokens kubelets renew within 50 min (${node.name} has signed with the next key for ${Math.floor(age / 60)} min)`,
    Number.isNaN(stale) && `unknown clients, as ${node.name} does not count requests with a token older than 1 h`,
    stale > 0 && `clients that sent ${node.name} ${stale} requests with a token older than 1 h since its start`,
  )
}

/** The id that kube-apiserver gives a key: the SHA-256 of its SubjectPublicKeyInfo. */
function kidOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('base64url')
}

/** The key id in a token's header (RFC 7515, 4.1.4); undefined if it is not a token. */
function kidIn(token: string): string | undefined {
  const [head = ''] = token.split('.')
  try {
    return JSON.parse(Buffer.from(head, 'base64url').toString()).kid
  } catch {
    return undefined
  }
}

/** Keeps the certificate of the key that signs. Throws a Failure without it. */
function dropOtherKeys({ auth }: { readonly auth: AuthDir }): void {
  const { certificate, key } = readTokenPair(auth)
  if (!certificate || !key)
    throw new Failure(`can't read ${tokenFiles(auth.files).certificate} in ${auth.path} any more`, {
      remedy: runAgain,
    })
  auth.writeDurably([tokenFiles(auth.files).certificate, certificatePem(certificate.der), publicMode])
}
