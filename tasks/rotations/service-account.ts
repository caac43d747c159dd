/** `rotate service-account`: the next key is accepted everywhere before it signs anywhere, and the earlier one after. */

import { createPublicKey, type KeyObject } from 'node:crypto'
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { backUp, backups } from '../../lib/files/backup.ts'
import { certificateFile, keyFile, nextName } from '../../lib/files/names.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import type { Client } from '../../lib/kubernetes/client.ts'
import { tokenRotation } from '../../lib/kubernetes/rotation.ts'
import { kidIn, kidOf } from '../../lib/kubernetes/token.ts'
import { readPrivateKey } from '../../lib/pki/private-key.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import { withApi } from '../nodes/component.ts'
import { lookAtUnits } from '../nodes/units.ts'
import { apiServers, apiServersOn } from './components.ts'
import type { Rotating, Rotation, Stage } from './rotation.ts'
import { dropOtherKeys, readRotation } from './service-account-state.ts'

const name = 'service-account'
const [certificate, key] = [certificateFile(name), keyFile(name)]
const nextKey = keyFile(nextName(name))
/** Seconds: kubelets ask for a new token once four fifths of the 3,607 seconds of a pod's are over. */
const refreshTime = 3000

const published: Stage = {
  name: 'published',
  title: 'the next key is accepted, and the present one signs',
  changes: (file) => file === certificate,
  proof: 'each API server publishes both keys (/openid/v1/jwks)',
  async begin({ workspace: { auth, cluster } }) {
    const next = await generatePrivateKey(cluster.certificates.key)
    auth.write(nextKey, privateKeyPem(next), secretMode, { durable: true })
  },
  prove: (rotating, node) => prove(rotating, node, [refuseOtherKeys]),
  async bound({ workspace: { auth }, isForced }) {
    // Kept as the one that signs when that was taken back.
    const next = readPublicKey(auth.tryBytes(nextKey))
    const hasSigned = next && backups(auth, key).some((pem) => readPublicKey(pem)?.equals(next))
    return hasSigned && !isForced ? ['tokens that the next key has signed already (--force gives them up)'] : []
  },
  async undo({ workspace: { auth, now } }) {
    backUp(auth, [nextKey, certificate], now)
    // First what is accepted: with the next key away, it would be taken for an earlier one.
    dropOtherKeys({ auth }, name)
    auth.remove(nextKey)
  },
}

const signing: Stage = {
  name: 'signing',
  title: 'the next key signs, and the earlier one is accepted',
  changes: (file) => file === key || file === certificate,
  proof: 'a token that is asked of each API server is signed by the next key',
  async begin({ workspace: { auth, now } }) {
    backUp(auth, [key], now)
    auth.write(key, auth.bytes(nextKey), secretMode, { durable: true })
  },
  prove: (rotating, node) => prove(rotating, node, [refuseOtherKeys, refuseOtherSigner]),
  async undo({ workspace: { auth, now } }) {
    const present = readPublicKey(auth.tryBytes(key))
    const [earlier] = backups(auth, key).filter((pem) => {
      const each = readPublicKey(pem)
      return each && present && !each.equals(present) && isAccepted({ auth }, each)
    })
    if (!earlier)
      throw new Failure(`the earlier key is not in ${auth.path}/backup`, { remedy: 'restore it there from a backup' })
    backUp(auth, [key], now)
    auth.write(nextKey, auth.bytes(key), secretMode, { durable: true })
    auth.write(key, earlier, secretMode, { durable: true })
  },
}

const finished: Stage = {
  name: 'finished',
  title: 'tokens of the earlier key are refused',
  changes: (file) => file === certificate,
  proof: 'each API server publishes the one key, and a token that is asked of it is signed by it',
  isLast: true,
  heldBy: findOldTokens,
  async begin({ workspace: { auth, now } }) {
    backUp(auth, [certificate], now)
    dropOtherKeys({ auth }, name)
  },
  prove: (rotating, node) => prove(rotating, node, [refuseOtherKeys, refuseOtherSigner]),
}

export const serviceAccountRotation: Rotation = {
  name,
  what: 'the service-account key',
  stages: [published, signing, finished],
  stageOf: (workspace) => readRotation(workspace, { name }).stage,
  unseen: () => [
    'processes that read their token once and never again: it is good for a year, and theirs is of the earlier key',
    'tokens that were asked for with a longer life (kubectl create token --duration, expirationSeconds of a projected volume)',
    'who reads /openid/v1/jwks from outside, and may keep it for an hour',
  ],
}

function readPublicKey(pem: Buffer | undefined): KeyObject | undefined {
  const read = pem && readPrivateKey(pem)
  return read && createPublicKey(read)
}

function acceptedKeys({ auth }: Pick<Workspace, 'auth'>): KeyObject[] {
  const rotation = tokenRotation((file) => auth.tryBytes(file), name)
  const present = readPublicKey(auth.tryBytes(key))
  return [...(present ? [present] : []), ...(rotation.stage === 'unclear' ? [] : rotation.others)]
}

function isAccepted(workspace: Pick<Workspace, 'auth'>, asked: KeyObject): boolean {
  return acceptedKeys(workspace).some((each) => each.equals(asked))
}

const jwks = v.object({ keys: v.array(v.object({ kid: v.string() })) })
const tokenRequest = v.object({ status: v.object({ token: v.string() }) })
const secretList = v.object({
  metadata: v.object({ continue: v.optional(v.string(), '') }),
  // What Go has none of is null.
  items: v.nullish(
    v.array(
      v.object({
        metadata: v.object({ namespace: v.string(), name: v.string() }),
        data: v.nullish(v.object({ token: v.optional(v.string(), '') }), { token: '' }),
      }),
    ),
  ),
})

type Proof = (api: Client, workspace: Workspace) => Promise<void>

async function prove(rotating: Rotating, node: ClusterNode, proofs: readonly Proof[]): Promise<string[]> {
  const units = await apiServersOn(rotating, node)
  if (units.length === 0) return []
  await withApi(rotating, node, async (api) => {
    for (const each of proofs) await each(api, rotating.workspace)
  })
  return units
}

async function refuseOtherKeys(api: Client, workspace: Workspace): Promise<void> {
  const asked = acceptedKeys(workspace).map(kidOf)
  const { keys } = await api.readAs(jwks, 'GET', '/openid/v1/jwks')
  const kids = keys.map(({ kid }) => kid)
  if (kids.length !== asked.length || !asked.every((kid) => kids.includes(kid)))
    throw new Failure(`its API server accepts other keys than those in ${certificate}`, {
      remedy: 'see its --service-account-key-file: systemctl cat kube-apiserver',
    })
}

async function refuseOtherSigner(api: Client, { auth }: Workspace): Promise<void> {
  const present = readPublicKey(auth.tryBytes(key))
  if (!present || (await kidOfNewToken(api)) !== kidOf(present))
    throw new Failure(`its API server signs tokens with another key than ${key}`, {
      remedy: 'see its --service-account-signing-key-file: systemctl cat kube-apiserver',
    })
}

/** Good for ten minutes, bound to nothing, and forgotten here. */
async function kidOfNewToken(api: Client): Promise<string | undefined> {
  const path = '/api/v1/namespaces/kube-system/serviceaccounts/default/token'
  const { status } = await api.readAs(tokenRequest, 'POST', path, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: 600 },
  })
  return kidIn(status.token)
}

async function findOldTokens(rotating: Rotating): Promise<string[]> {
  const nodes = await apiServers(rotating)
  const [first] = nodes
  if (!first) return ['whoever it may be: no API server runs that could tell']
  const found = await Promise.all(nodes.map((node) => findOnApiServer(rotating, node)))
  return [...(await findLegacySecrets(rotating, first)), ...found.flat()]
}

/** Made once, and signed by nobody again: https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets */
async function findLegacySecrets(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  const present = readPublicKey(rotating.workspace.auth.tryBytes(key))
  const kid = present && kidOf(present)
  return withApi(rotating, node, async (api) => {
    const found: string[] = []
    let page = ''
    do {
      const query = `fieldSelector=type%3Dkubernetes.io%2Fservice-account-token&limit=500${page && `&continue=${encodeURIComponent(page)}`}`
      const list = await api.readAs(secretList, 'GET', `/api/v1/secrets?${query}`)
      for (const { metadata, data } of list.items ?? [])
        if (kidIn(Buffer.from(data.token, 'base64').toString()) !== kid)
          found.push(
            `the token in Secret ${metadata.namespace}/${metadata.name}: have it made anew by taking data.token out of it`,
          )
      page = list.metadata.continue
    } while (page !== '')
    return found
  })
}

const counters = new Map([
  ['serviceaccount_stale_tokens_total', 'with a token past its hour'],
  ['serviceaccount_legacy_tokens_total', 'with the token of a Secret'],
])

/** Since its start, which was after the next key began to sign. */
async function findOnApiServer(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  const { workspace, install } = rotating
  const { units, now } = (await lookAtUnits(workspace, node, install)).places
  const age = Math.floor(now - (units.get('kube-apiserver')?.started ?? now))
  const young =
    age < refreshTime
      ? [
          `pods, whose tokens kubelets renew within 50 minutes: ${node.name} signs with the next key for ${Math.floor(age / 60)}`,
        ]
      : []
  const metrics = await withApi(rotating, node, async (api) => {
    const { status, body } = await api.ask('GET', '/metrics')
    if (status === 200) return body
    throw new Failure(`GET /metrics answers ${status}: who still uses the earlier key is not known`)
  })
  const counted = [...counters].flatMap(([metric, words]) => {
    const [, count] = new RegExp(`^${metric} (\\d+)`, 'm').exec(metrics) ?? []
    if (count === undefined) return [`whoever it may be: ${node.name} does not count who asks ${words}`]
    return Number(count) > 0 ? [`whoever asked ${node.name} ${count} times ${words}, since its start`] : []
  })
  return [...young, ...counted]
}
