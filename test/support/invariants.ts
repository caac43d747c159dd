/**
 * What holds at every moment, and what holds after a run that has ended well; judged by node:crypto from the bytes
 * alone.
 */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parse } from 'yaml'
import { foreignParts, type State, shellFiles, type ThreeNodes } from './labs.ts'
import { temporaryFolder } from './process.ts'

const signed = [
  ...['kubernetes', 'admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'service-account'],
  ...['control0', 'worker0'],
]
const clients = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'control0', 'worker0']
const pairOf = (name: string) => [`${name}.pem`, `${name}-key.pem`]
const kubeconfigOf = (name: string) => `${name}.kubeconfig`
const made = [...['ca', ...signed].flatMap(pairOf), ...clients.map(kubeconfigOf), 'encryption-config.yaml'].toSorted()

const onNode: Readonly<Record<string, readonly string[]>> = {
  control0: [
    ...['ca', 'kubernetes', 'service-account', 'control0'].flatMap(pairOf),
    ...['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'control0'].map(kubeconfigOf),
    'encryption-config.yaml',
  ],
  worker0: ['ca.pem', ...pairOf('worker0'), ...['kube-proxy', 'worker0'].map(kubeconfigOf)],
  gateway: ['ca.pem'],
}

/** Also by the name that it has until it is complete. */
const isSecret = (name: string) => !/(?<!-key)\.pem~?$/.test(name)
const isOurs = (name: string) => /\.(pem|kubeconfig)$|^encryption-config\.yaml$/.test(name) && !name.startsWith('.')
const tryRead = (path: string) => (existsSync(path) ? readFileSync(path) : undefined)

/** The public keys of the CA and the service account, and what Secrets are sealed with, as far as they are there. */
export type Identity = Readonly<Record<string, string>>

export function readIdentity({ auth }: ThreeNodes): Identity {
  const publicKey = (name: string) => {
    const pem = tryRead(join(auth, name))
    return pem && { [name]: createPublicKey(pem).export({ type: 'spki', format: 'pem' }).toString() }
  }
  const config = tryRead(join(auth, 'encryption-config.yaml'))?.toString()
  const secrets = config?.match(/^.*\bsecret: .*$/gm)
  return {
    ...publicKey('ca-key.pem'),
    ...publicKey('service-account-key.pem'),
    ...(secrets && { 'encryption-config.yaml': secrets.map((line) => line.trim()).join() }),
  }
}

/** What existed is there, and is the same. */
export function assertKept(before: Identity, { auth }: ThreeNodes, now: Identity): void {
  for (const [name, value] of Object.entries(before)) assert.equal(now[name], value, `${name} in ${auth} has changed`)
}

export function assertForeignKept({ kubeconfig }: ThreeNodes): void {
  const text = readFileSync(kubeconfig, 'utf8')
  for (const part of foreignParts) assert.ok(text.includes(part), `lost from the kubeconfig:\n${part}\nin:\n${text}`)
}

/**
 * Right after a kill: no file is half written, none open to others, none lost; a node's files are the old or the new
 * ones.
 */
export function assertNothingHalf(place: ThreeNodes, state: State): void {
  assertForeignKept(place)
  const { auth } = place
  const names = existsSync(auth) ? readdirSync(auth) : []
  for (const name of names.filter(isOurs)) assertWhole(join(auth, name))
  for (const name of names.filter((each) => isSecret(each) && lstatSync(join(auth, each)).isFile()))
    assert.equal(lstatSync(join(auth, name)).mode & 0o077, 0, `${name} is open to others`)
  const old = place.oldAuth(state)
  if (old) for (const name of made) assert.ok(names.includes(name), `${name} is lost`)
  for (const { name, home } of place.lab.nodes) assertOneSet(name, home, auth, old)
}

function assertWhole(path: string): void {
  const text = readFileSync(path, 'utf8')
  const name = basename(path)
  if (name.endsWith('-key.pem')) createPrivateKey(text)
  else if (name.endsWith('.pem')) new X509Certificate(text)
  else assert.ok(parse(text).kind, `${path} is half written`)
}

/** All of the old ones, or all of the new ones. */
function assertOneSet(node: string, home: string, auth: string, old: string | undefined): void {
  const files = onNode[node] ?? []
  const equals = (folder: string | undefined) =>
    files.filter((name) => {
      const there = tryRead(join(home, name))
      const asked = folder && tryRead(join(folder, name))
      return asked ? there?.equals(asked) : there === undefined
    })
  const sets = [equals(auth).length, equals(old).length]
  assert.ok(sets.includes(files.length), `${node} holds ${sets[0]} of ${files.length} new files, ${sets[1]} old ones`)
}

/** After the next run: everything is right, and nothing else is there. */
export function assertComplete(place: ThreeNodes): void {
  const { auth, kubeconfig, lab } = place
  // Certificates that were overwritten while they were valid are kept.
  const held = readdirSync(auth).filter((name) => name !== 'backup')
  assert.deepEqual(held.toSorted(), ['.gitignore', ...made], 'what auth/ holds')
  for (const name of made) assertMode(join(auth, name))
  assertCertificates(auth)
  for (const name of clients) assertKubeconfig(auth, name)
  for (const { name: node, home } of lab.nodes) {
    const files = onNode[node] ?? []
    assert.deepEqual(readdirSync(home).toSorted(), [...files, ...shellFiles].toSorted(), `what ${node} holds`)
    for (const file of files) {
      assert.ok(readFileSync(join(home, file)).equals(readFileSync(join(auth, file))), `${file} on ${node} is another`)
      assertMode(join(home, file))
    }
  }
  assertForeignKept(place)
  assertMerged(auth, kubeconfig)
  assert.deepEqual(readdirSync(temporaryFolder(place.path)), [], 'what is left of folders for sockets')
}

function assertMode(path: string): void {
  assert.equal(lstatSync(path).mode & 0o7777, isSecret(basename(path)) ? 0o600 : 0o644, `mode of ${path}`)
}

function assertCertificates(auth: string): void {
  const ca = new X509Certificate(readFileSync(join(auth, 'ca.pem')))
  for (const name of ['ca', ...signed]) {
    const certificate = new X509Certificate(readFileSync(join(auth, `${name}.pem`)))
    const key = createPrivateKey(readFileSync(join(auth, `${name}-key.pem`)))
    assert.ok(certificate.checkPrivateKey(key), `${name}-key.pem is not the key of ${name}.pem`)
    assert.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey), `${name}.pem is of another CA`)
  }
}

function assertKubeconfig(auth: string, name: string): void {
  const { clusters, users } = parse(readFileSync(join(auth, `${name}.kubeconfig`), 'utf8'))
  assertAccess(auth, name, clusters[0].cluster, users[0].user)
}

type Fields = Readonly<Record<string, string>>

function assertAccess(auth: string, name: string, cluster: Fields, user: Fields): void {
  const base64 = (file: string) => readFileSync(join(auth, file)).toString('base64')
  assert.equal(cluster['certificate-authority-data'], base64('ca.pem'), `CA of ${name}.kubeconfig`)
  assert.equal(user['client-certificate-data'], base64(`${name}.pem`), `certificate of ${name}.kubeconfig`)
  assert.equal(user['client-key-data'], base64(`${name}-key.pem`), `key of ${name}.kubeconfig`)
}

function assertMerged(auth: string, kubeconfig: string): void {
  const { clusters, users, ...rest } = parse(readFileSync(kubeconfig, 'utf8'))
  const named = (list: Fields[], name: string) => list.find((entry) => entry.name === name)
  const cluster = named(clusters, 'kubenet')?.cluster as unknown as Fields
  assertAccess(auth, 'admin', cluster, named(users, 'admin')?.user as unknown as Fields)
  assert.equal(rest['current-context'], 'kubenet')
  assert.deepEqual(readdirSync(dirname(kubeconfig)), ['config'])
  assert.equal(lstatSync(kubeconfig).mode & 0o777, 0o600)
}
