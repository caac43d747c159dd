/**
 * docs/bad-day.md, "A key that may have leaked": its commands, as they stand there. No unit runs on these nodes:
 * test/machines has the rest.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { isIssuedBy } from '../../lib/pki/certificate.ts'
import { parseCommandLine } from '../../tasks/cli.ts'
import { certificateIn } from '../support/certificates.ts'
import { copyPlace, type Edit, exits, labEdits, madePlace, oneOfEach, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'
import { recipes } from '../support/recipe.ts'

const workers = 'A worker, or its key'

/** By what has leaked: whose keys the first command is to replace. */
const replaced: Readonly<Record<string, readonly string[]>> = {
  "A user's key or kubeconfig": ['jane'],
  "The admin's kubeconfig": ['admin'],
  // A name that comes back to `nodes` gets a new key.
  [workers]: ['kube-proxy'],
  'A control node, auth/, or a backup of it': [
    ...[
      'admin',
      'apiserver-etcd-client',
      'control0',
      'etcd',
      'front-proxy-client',
      'jane',
      'kube-controller-manager',
      'kube-proxy',
    ],
    ...['kube-scheduler', 'kubernetes', 'worker0'],
  ],
}

test('each leak has a recipe: new keys, then a new CA; and where everything has leaked, every rotation to its end', () => {
  assert.deepEqual([...recipes.keys()], Object.keys(replaced))
  const asTyped = [...recipes.values()].map((commands) => commands.map((words) => words.join(' ')))
  for (const [first, ...more] of asTyped) {
    assert.match(first ?? '', / --force$/)
    assert.deepEqual(more.slice(0, 2), ['rotate ca', 'rotate ca --finish'])
  }
  const all = ['ca', 'etcd-ca', 'front-proxy-ca', 'service-account', 'encryption-key'].flatMap((name) => [
    `rotate ${name}`,
    `rotate ${name} --finish`,
  ])
  assert.deepEqual(asTyped.at(-1)?.slice(1), all)
  for (const commands of recipes.values()) for (const words of commands) parseCommandLine(words)
})

const edits: readonly Edit[] = [
  ...oneOfEach,
  [['install'], true],
  [['users'], [{ name: 'jane' }]],
  [['etcd'], { ca: 'own' }],
  [['aggregation'], true],
]

describe('the first command makes new keys, and revokes nothing:', () => {
  const origin = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')

  for (const [leak, [force = []]] of recipes)
    test(leak, async (t) => {
      const { place, auth } = copyPlace(t, origin, edits)
      await exits(0, place, ...force)
      const isNew = (name: string) => !readFileSync(join(auth, name)).equals(readFileSync(join(origin, 'auth', name)))
      const made = readdirSync(auth).filter((name) => name.endsWith('-key.pem') && isNew(name))
      assert.deepEqual(
        made,
        replaced[leak]?.map((name) => `${name}-key.pem`),
      )
      for (const name of replaced[leak] ?? []) {
        const issuer = name === 'front-proxy-client' ? 'front-proxy-ca' : 'ca'
        const ca = certificateIn(auth, /^(etcd|apiserver-etcd-client)$/.test(name) ? 'etcd-ca' : issuer)
        assert.ok(isIssuedBy(certificateIn(join(origin, 'auth'), name), ca), name)
      }
    })
})

describe('with the machine out of nodes, where no unit runs,', { skip: needs('ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite
  const auth = join(place, 'auth')
  const [force = [], begin = [], finish = []] = recipes.get(workers) ?? []

  test("a worker's key is the next CA's no more, and the machine comes back with another", async () => {
    const all = [...edits, ...labEdits(suite.lab)]
    writeCluster(place, all)
    await exits(0, place, 'bootstrap')
    const old = certificateIn(auth, 'worker0')
    const isAccepted = () => isIssuedBy(old, certificateIn(auth, 'ca'))
    const at = (node: string, file: string) => readFileSync(join(suite.lab.node(node).home, file))
    const its = at('worker0', 'worker0-key.pem')
    await exits(0, place, ...force)
    const nodes = oneOfEach.flatMap(([path, value]) => (path[0] === 'nodes' ? (value as { name: string }[]) : []))
    writeCluster(place, [...all, [['nodes'], nodes.filter(({ name }) => name !== 'worker0')]])

    // What `bootstrap` would copy, it copies.
    await exits(0, place, ...begin)
    assert.ok(isAccepted(), 'until --finish')
    const kubeconfig = readFileSync(join(auth, 'kube-proxy.kubeconfig'))
    assert.deepEqual(at('control0', 'kube-proxy.kubeconfig'), kubeconfig)
    assert.deepEqual(readEmbedded(String(kubeconfig))?.key, readFileSync(join(auth, 'kube-proxy-key.pem')))
    assert.deepEqual(at('worker0', 'worker0-key.pem'), its)

    // Whether API servers have loaded it is not known here.
    const { stderr } = await exits(3, place, ...finish)
    assert.match(stderr, /rotate ca --finish --force$/m)
    await exits(0, place, ...finish, '--force')
    assert.ok(!isAccepted())
    writeCluster(place, all)
    await exits(0, place, 'bootstrap')
    assert.ok(!certificateIn(auth, 'worker0').publicKey.equals(old.publicKey))
    assert.deepEqual(at('worker0', 'worker0-key.pem'), readFileSync(join(auth, 'worker0-key.pem')))
  })
})
