/** An auth/ made by the guide's own scripts is taken as it is; and what is made here serves the guide's scripts. */
import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { deployauth, ecdsa, genauth, gencert, setuplocalkubeconfig, writeJson } from '../guide/genauth.ts'
import { type GuideNode, guideNodes, requests, signingConfig } from '../guide/requests.ts'
import { openssl } from '../support/certificates.ts'
import { scratch } from '../support/files.ts'
import { type Edit, exits, harderway, labEdits, type Ran, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const keyKind = (kind: string): Edit => [['certificates', 'key'], kind]

// One of ecdsa-p256: below, with what it deploys.
test("an auth/ of rsa-2048 made by the guide's scripts is fresh, and left as it is but for modes that are open to others", {
  skip: needs('cfssl', 'cfssljson', 'kubectl'),
}, async (t) => {
  const place = scratch(t)
  const auth = join(place, 'auth')
  writeCluster(place, [keyKind('rsa-2048')])
  await genauth(auth)
  const made = filesOf(auth)
  const ran = await exits(0, place, ...phases, '--json')
  assert.equal(ran.events.at(-1)?.targets, 24)
  assertOnlyRepairs(ran)
  const modes = ['', 'encryption-config.yaml', 'ca.pem'].map((name) => lstatSync(join(auth, name)).mode & 0o777)
  assert.deepEqual(modes, [0o700, 0o600, 0o644])
  const again = await exits(0, place, ...phases, '--json')
  assert.equal(again.events.at(-1)?.fresh, 24)
  assert.deepEqual(filesOf(auth), made)
  await exits(0, place, 'verify', '--json')
})

test('cfssl signs with a CA that was made here, and openssl takes its certificate beside ours', {
  skip: needs('cfssl', 'cfssljson', 'openssl'),
}, async (t) => {
  const place = scratch(t)
  const auth = join(place, 'auth')
  writeCluster(place, [keyKind('ecdsa-p256')])
  await exits(0, place, 'certs')
  writeJson(auth, 'ca-config', signingConfig)
  const node: GuideNode = { name: 'worker3', role: 'worker', ip: '192.168.1.17' }
  const asked = requests([node], ecdsa).get(node.name)
  assert.ok(asked)
  await gencert(auth, node.name, asked)
  const [theirs = '', our = '', ca = ''] = ['worker3', 'worker0', 'ca'].map((name) => join(auth, `${name}.pem`))
  for (const purpose of ['sslserver', 'sslclient'])
    openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', ca, theirs, our)
  openssl('verify', '-verify_hostname', 'worker3.kubenet', '-CAfile', ca, theirs)
  writeCluster(place, [keyKind('ecdsa-p256'), [['nodes', 6], node]])
  const grown = await harderway(place, 'certs', '--json')
  assert.deepEqual([grown.status, grown.events.at(-1)?.fresh], [0, 14], grown.stdout)
})

describe("the guide's deployauth and setuplocalkubeconfig", {
  skip: needs('sshd', 'ssh', 'scp', 'kubectl', 'cfssl', 'cfssljson'),
}, () => {
  const nodes = guideNodes()
  const makers: Readonly<Record<string, (place: string) => Promise<unknown>>> = {
    here: (place) => harderway(place, ...phases),
    "by the guide's scripts": (place) => genauth(join(place, 'auth'), { key: ecdsa }),
  }
  const suite = labPlace(...nodes.map(({ name }) => name))
  const { place } = suite

  before(async () => {
    writeCluster(place, [...labEdits(suite.lab), keyKind('ecdsa-p256')])
  })

  for (const [maker, make] of Object.entries(makers))
    test(`work with an auth/ made ${maker}, and bootstrap then finds nodes and kubeconfig fresh`, async () => {
      for (const folder of [join(place, 'auth'), join(place, 'home/.kube')])
        rmSync(folder, { recursive: true, force: true })
      for (const { home } of suite.lab.nodes) clear(home)
      await make(place)
      const auth = join(place, 'auth')
      await deployauth(auth, nodes, { sshConfig: suite.lab.sshConfig, user: userInfo().username })
      await setuplocalkubeconfig(auth, join(place, 'home'))
      const [kubeconfig] = Object.values(filesOf(join(place, 'home/.kube')))
      const homes = suite.lab.nodes.map(({ home }) => filesOf(home))
      assert.deepEqual(
        homes.map((files) => Object.keys(files).filter((name) => name.endsWith('.pem')).length),
        [8, 8, 8, 3, 3, 3],
      )
      const ran = await exits(0, place, 'bootstrap', '--json')
      assert.equal(ran.events.at(-1)?.targets, 31)
      assertOnlyRepairs(ran)
      assert.equal(typesOf(ran, 'local-kubeconfig').at(-1), 'fresh')
      assert.deepEqual(Object.values(filesOf(join(place, 'home/.kube'))), [kubeconfig])
      assert.deepEqual(
        suite.lab.nodes.map(({ home }) => filesOf(home)),
        homes,
      )
    })
})

/** Inode, time and content of every file, by its name; without the one that keeps the folder out of git. */
function filesOf(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => name !== '.gitignore' && lstatSync(join(folder, name)).isFile())
  return Object.fromEntries(
    names.toSorted().map((name) => {
      const { ino, mtimeMs } = lstatSync(join(folder, name))
      return [name, [ino, mtimeMs, readFileSync(join(folder, name), 'base64')].join(' ')]
    }),
  )
}

function assertOnlyRepairs({ events }: Ran): void {
  for (const { type, id, message } of events) {
    assert.ok(!['failed', 'skipped', 'stale', 'refused'].includes(String(type)), `${type} ${id} ${message}`)
    if (type === 'built') assert.match(String(message), /^repaired; /, String(id))
  }
}

function typesOf({ events }: Ran, id: string): unknown[] {
  return events.filter((event) => event.id === id).map(({ type }) => type)
}

/** The lab's own files stay. */
function clear(home: string): void {
  for (const name of readdirSync(home)) if (!name.startsWith('.')) rmSync(join(home, name), { recursive: true })
}
