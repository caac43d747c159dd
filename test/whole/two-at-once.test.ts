import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { scratch } from '../support/files.ts'
import { type Edit, harderway, writeCluster } from '../support/harderway.ts'
import { type Ended, start, temporaryFolder } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const names = [
  ...['ca', 'kubernetes', 'admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'service-account'],
  ...['control0', 'control1', 'control2', 'worker0', 'worker1', 'worker2'],
]
const clients = names.filter((name) => !['ca', 'kubernetes', 'service-account'].includes(name))
const files = [
  '.gitignore',
  ...names.flatMap((name) => [`${name}.pem`, `${name}-key.pem`]),
  ...clients.map((name) => `${name}.kubeconfig`),
].toSorted()

function makeFolder(t: TestContext, edits: readonly Edit[] = []): string {
  const folder = scratch(t)
  mkdirSync(join(folder, 'home'))
  writeCluster(folder, [...edits])
  return folder
}

/** One CA, and all that it issued beside its own keys; nothing else is there. */
function assertConsistent(folder: string): void {
  const auth = join(folder, 'auth')
  assert.deepEqual(readdirSync(auth).toSorted(), files)
  assert.deepEqual(readdirSync(temporaryFolder(folder)), [])
  const bytes = (name: string) => readFileSync(join(auth, name))
  const ca = new X509Certificate(bytes('ca.pem'))
  for (const name of names) {
    const certificate = new X509Certificate(bytes(`${name}.pem`))
    assert.ok(certificate.checkPrivateKey(createPrivateKey(bytes(`${name}-key.pem`))), name)
    assert.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey), name)
  }
  for (const name of clients) {
    const { clusters, users } = parse(bytes(`${name}.kubeconfig`).toString())
    const { cluster } = clusters[0]
    const { user } = users[0]
    assert.equal(cluster['certificate-authority-data'], bytes('ca.pem').toString('base64'))
    assert.equal(user['client-certificate-data'], bytes(`${name}.pem`).toString('base64'))
    assert.equal(user['client-key-data'], bytes(`${name}-key.pem`).toString('base64'))
  }
}

const summary = ({ stdout }: Ended) => /^(\d+) targets: (\d+) changed, (\d+) up to date, (\d+) failed/m.exec(stdout)

test('of twelve runs at once in an empty folder all exit 0, one makes everything and the others find it fresh', async (t) => {
  const folder = makeFolder(t)
  const runs = await Promise.all(Array.from({ length: 12 }, () => start(folder, ['certs', 'kubeconfigs']).ended))
  for (const run of runs) assert.equal(run.status, 0, run.stdout + run.stderr)
  const made = runs.map((run) => Number(summary(run)?.[2]))
  assert.deepEqual(made.toSorted(), [...new Array(11).fill(0), names.length + clients.length].toSorted())
  assertConsistent(folder)
})

const twoClusters = (name: string, kubeconfig: string): Edit[] => [
  [['name'], name],
  [['domain'], name],
  [['localKubeconfig'], { path: kubeconfig, context: name, user: `${name}-admin` }],
]

/** Names of the entries of each list. */
function entriesOf(kubeconfig: string): Record<string, string[]> {
  const config = parse(readFileSync(kubeconfig, 'utf8'))
  const list = (key: string) => config[key].map(({ name }: { name: string }) => name).toSorted()
  return { clusters: list('clusters'), users: list('users'), contexts: list('contexts') }
}

test('beside a kubectl that sets contexts all the time, nothing of either is lost', {
  skip: needs('kubectl'),
}, async (t) => {
  const kube = scratch(t)
  const kubeconfig = join(kube, 'config')
  const folders = ['north', 'south'].map((name) => makeFolder(t, twoClusters(name, kubeconfig)))
  await Promise.all(folders.map((folder) => harderway(folder, 'certs')))
  const stop = new AbortController()
  t.after(() => stop.abort())
  const loop = setContexts(kubeconfig, stop.signal)
  for (let round = 0; round < 4; round += 1) {
    const runs = await Promise.all(
      folders.map((folder) => start(folder, ['local-kubeconfig', ...(round === 0 ? [] : ['--force'])]).ended),
    )
    for (const run of runs) assert.equal(run.status, 0, run.stdout + run.stderr)
  }
  stop.abort()
  const contexts = await loop
  assert.ok(contexts.length > 0)
  assert.deepEqual(entriesOf(kubeconfig), {
    clusters: ['north', 'south'],
    users: ['north-admin', 'south-admin'],
    contexts: [...contexts, 'north', 'south'].toSorted(),
  })
  assert.ok(!readdirSync(kube).some((name) => name.includes('.lock') || name.startsWith('.tmp-')))
})

/** kubectl, again and again; where the file is locked it gives up, and is run again. The contexts that it has set. */
async function setContexts(kubeconfig: string, signal: AbortSignal): Promise<string[]> {
  const set: string[] = []
  while (!signal.aborted) {
    const name = `theirs-${set.length}`
    const args = ['config', 'set-context', name, '--namespace=theirs', `--kubeconfig=${kubeconfig}`]
    try {
      await promisify(execFile)('kubectl', args)
      set.push(name)
    } catch (error) {
      assert.match(String(error), /\.lock: file exists/)
    }
  }
  return set
}
