/**
 * Every certificate of every stage of a CA's rotation, judged by openssl and by Go (cfssl, kubectl), for old trust and
 * new.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { ecdsa, genauth } from '../guide/genauth.ts'
import { type GuideNode, guideNodes } from '../guide/requests.ts'
import { openssl } from '../support/certificates.ts'
import { type Edit, exits, labEdits, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { kubectl, needs } from '../support/programs.ts'

const later = 'control1'
const all = guideNodes().filter(({ name }) => ['control0', later, 'worker0'].includes(name))
const nodes = all.filter(({ name }) => name !== later)
const leaves = ['kubernetes', 'admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'control0', 'worker0']
/** One of each profile: a server, a component, a node. */
const ofEachProfile = ['kubernetes', 'admin', 'worker0']
const ours = 'that were made here'
const origins: readonly (readonly [string, (auth: string, nodes: readonly GuideNode[]) => Promise<void>])[] = [
  [ours, async () => {}],
  ["that the guide's scripts made", (auth, nodes) => genauth(auth, { nodes, key: ecdsa })],
]

for (const [whose, make] of origins)
  describe(`files ${whose}`, { skip: needs('ssh', 'openssl', 'cfssl', 'cfssljson', 'kubectl') }, () => {
    const suite = localPlace(...all.map(({ name }) => name))
    const { place } = suite
    let auth: string
    const must = async (...args: string[]) => {
      await exits(0, place, ...args)
    }
    const file = (name: string) => join(auth, name)
    const publicKey = (name: string) => openssl('x509', '-in', file(name), '-noout', '-pubkey')
    const keep = (name: string) => {
      cpSync(file('ca.pem'), join(place, name))
      return join(place, name)
    }
    const describeCluster = (nodes: readonly GuideNode[], install: unknown = true, ...more: Edit[]) =>
      writeCluster(place, [...labEdits(suite.lab), [['nodes'], nodes], [['install'], install], ...more])
    /** Throws unless openssl finds the certificate right for those who trust that CA alone. */
    const verifyByOpenssl = (trusted: string, name: string) =>
      openssl('verify', '-x509_strict', '-CAfile', trusted, '-untrusted', file(name), file(name))
    /** Throws unless Go finds so too. */
    const verify = (trusted: string, name: string) => {
      verifyByOpenssl(trusted, name)
      const cross = existsSync(file('ca-cross.pem')) ? [`-int-bundle=${file('ca-cross.pem')}`] : []
      const certificates = ['-ca-bundle', trusted, ...cross, '-cert', file(name)]
      execFileSync('cfssl', ['bundle', '-loglevel=3', ...certificates], { stdio: ['ignore', 'ignore', 'pipe'] })
    }
    const verifyAll = (...trusted: readonly string[]) => {
      for (const ca of trusted) {
        for (const name of leaves) verifyByOpenssl(ca, `${name}.pem`)
        for (const name of ofEachProfile) verify(ca, `${name}.pem`)
      }
    }

    before(async () => {
      auth = join(place, 'auth')
      describeCluster(nodes)
      await make(auth, nodes)
      await must('bootstrap')
    })

    test('go over to the next CA, and are right for old trust and new at each stage', async () => {
      const old = keep('old.pem')
      const keys = leaves.map((name) => publicKey(`${name}.pem`))
      assert.match((await exits(3, place, 'rotate', 'ca')).stderr, /does not know .* kube-apiserver on control0; /)
      assert.ok(!existsSync(file('ca-next.pem')))
      const { stdout: begun } = await exits(0, place, 'rotate', 'ca', '--force')
      assert.equal(begun.match(/^To do +back up \S+ \(docs\/everyday\.md\)$/gm)?.length, 1)
      verifyAll(old, file('ca-next.pem'))
      verify(old, 'service-account.pem')
      assert.ok(readFileSync(file('ca.pem')).equals(readFileSync(old)))
      assert.deepEqual(
        leaves.map((name) => publicKey(`${name}.pem`)),
        keys,
      )
      for (const name of ['admin', 'worker0'])
        assert.match(trustIn(place, file(`${name}.kubeconfig`)), /^(-+BEGIN CERTIFICATE[\s\S]*?-END[\s\S]*?){2}$/)
      await must('rotate', 'ca', '--finish', '--force')
      // Pods go on by their old ca.crt until its end.
      verifyAll(old, file('ca.pem'))
      verify(file('ca.pem'), 'service-account.pem')
      assert.equal(trustIn(place, file('admin.kubeconfig')), readFileSync(file('ca.pem'), 'utf8'))
      await must('bootstrap', '--dry-run')
    })

    // From then on the CA is one that was made here.
    if (whose !== ours) return

    const exitsUnknown = async (...args: string[]) => {
      const { stderr } = await exits(3, place, ...args)
      assert.match(
        stderr,
        /can't verify that each API server has loaded this stage: no API server runs on any control node/,
      )
    }

    test('go over once more, after which the first CA is worth nothing', async () => {
      describeCluster(nodes)
      const [first, second] = [join(place, 'old.pem'), keep('second.pem')]
      await must('rotate', 'ca', '--force')
      // As a backup that was put back in part.
      rmSync(file('ca-next-key.pem'))
      const unclear = await exits(3, place, 'bootstrap')
      assert.match(unclear.stdout + unclear.stderr, /ca-next-key\.pem is missing.*rotate ca --undo/s)
      await must('rotate', 'ca', '--undo')
      // --force has ended what pods of the first CA worked by.
      assert.ok(!existsSync(file('ca-cross.pem')))
      verifyAll(second)
      await exits(3, place, 'rotate', 'ca', '--undo')
      await must('rotate', 'ca', '--force')
      // A control node that comes in the middle is given the stage at hand, by a plain run.
      describeCluster(all)
      await must('bootstrap')
      const { home } = suite.lab.node(later)
      verify(second, `${later}.pem`)
      assert.ok(readFileSync(join(home, 'ca.pem')).equals(readFileSync(second)))
      assert.ok(readFileSync(join(home, 'kubernetes.pem')).equals(readFileSync(file('kubernetes.pem'))))
      assert.match(openssl('x509', '-in', file('kubernetes.pem'), '-noout', '-text'), /DNS:control1\b/)
      await exitsUnknown('rotate', 'ca', '--finish')
      for (const how of ['--dry-run', '--yes']) await exits(3, place, 'ca', '--force', how)
      await must('rotate', 'ca', '--finish', '--force')
      verifyAll(second, file('ca.pem'))
      verify(file('ca.pem'), `${later}.pem`)
      for (const name of leaves) assert.throws(() => verifyByOpenssl(first, `${name}.pem`))
      const subject = openssl('x509', '-in', file('ca.pem'), '-noout', '-subject', '-nameopt', 'multiline')
      assert.match(subject, /commonName += Kubernetes 3$/m)
      assert.deepEqual(
        readdirSync(auth).filter((name) => name.includes('next')),
        [],
      )
    })

    test('are not replaced further while no API server can be queried for the loaded stage', async () => {
      describeCluster(all, { units: { 'kube-apiserver': false } })
      const unreached = await exits(3, place, 'rotate', 'ca', '--force')
      assert.match(unreached.stderr, /kube-apiserver on each control node; add it to install\.units/)
      assert.ok(!existsSync(file('ca-next-key.pem')))
      describeCluster(all)
      await must('rotate', 'service-account', '--force')
      await exitsUnknown('rotate', 'service-account', '--finish')
      for (const how of ['--dry-run', '--yes']) {
        const replaced = await exits(3, place, 'component-certs/service-account', '--force', how)
        assert.match(replaced.stdout + replaced.stderr, /a rotation of the service-account key is in progress/)
      }
      for (const _ of ['signing', 'published']) await must('rotate', 'service-account', '--undo', '--force')
      const rewriting = await exits(1, place, 'rotate', 'encryption-key', '--force')
      assert.match(rewriting.stdout + rewriting.stderr, /no API server runs on any control node/)
      assert.match(readFileSync(file('encryption-config.yaml'), 'utf8'), /key2[\s\S]*key1/)
      for (const how of ['--dry-run', '--yes']) await exits(3, place, 'encryption-key', '--force', how)
    })
  })

function trustIn(place: string, kubeconfig: string): string {
  const path = '{.clusters[0].cluster.certificate-authority-data}'
  const args = ['config', 'view', '--raw', '--kubeconfig', kubeconfig, '-o', `jsonpath=${path}`]
  return Buffer.from(kubectl(join(place, 'home'), args), 'base64').toString()
}
