/**
 * What `status` and `--dry-run` print for clusters of three, fifty and a thousand nodes in which one thing of each kind is
 * wrong, byte for byte. UPDATE_GOLDEN=1 writes the files anew: read the difference as a user would.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../support/files.ts'
import { type Edit, harderway, labEdits, writeCluster } from '../support/harderway.ts'
import { setClocks, startLocalLab } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const folder = join(import.meta.dirname, 'golden')
/** When everything is made; it is looked at noon of the next day. */
const made = new Date('2027-03-01T00:00:00Z')
const looked = new Date('2027-03-02T12:00:00Z')
const local = ['certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig']

/** All of them behind one sshd, each in a folder of its own. */
function nodesOf(count: number, controls: number): Edit {
  const names = [
    ...Array.from({ length: controls }, (_, i) => `control${i}`),
    ...Array.from({ length: count - controls - 1 }, (_, i) => `worker${i}`),
    'gateway',
  ]
  return [
    ['nodes'],
    names.map((name, i) => ({
      ...{ name, role: name.replace(/\d+/, ''), ip: `10.0.${Math.floor(i / 250)}.${(i % 250) + 1}` },
      ...{ host: 'many', directory: `~/${name}` },
    })),
  ]
}

const validity = (leaves: string, renewBefore: string): Edit[] => [
  [['certificates', 'validity'], leaves],
  [['certificates', 'renewBefore'], renewBefore],
]

/** Compares, or writes. */
function assertGolden(name: string, text: string): void {
  const file = join(folder, name)
  // The user that logs in on the nodes is part of what is hashed.
  const stable = text.replace(/in \d+\.\d s$/m, 'in 0.0 s').replace(/^(Plan hash: )[0-9a-f]{64}$/m, '$1…')
  if (process.env.UPDATE_GOLDEN) writeFileSync(file, stable)
  assert.equal(stable, readFileSync(file, 'utf8'), `${name} has changed: UPDATE_GOLDEN=1 writes it anew`)
}

for (const { count, controls, isDeployed } of [
  { count: 3, controls: 1, isDeployed: true },
  { count: 50, controls: 3, isDeployed: true },
  { count: 1000, controls: 5, isDeployed: false },
])
  test(`status and plan of ${count} nodes read as they should`, {
    skip: needs(...(isDeployed ? ['ssh'] : [])),
  }, async (t) => {
    const place = scratch(t)
    await using lab = isDeployed ? startLocalLab(join(place, 'lab'), ['many']) : undefined
    const auth = join(place, 'auth')
    const base: Edit[] = [
      [['certificates', 'key'], 'ecdsa-p256'],
      ...(lab ? labEdits(lab) : []),
      nodesOf(count, controls),
    ]
    const run = async (at: Date, expected: number, ...args: string[]) => {
      if (lab) await setClocks(lab, place, Math.round((at.getTime() - Date.now()) / 1000))
      const { status, stdout, stderr } = await harderway({ place, now: at }, ...args)
      assert.deepEqual([status, stderr], [expected, ''], stdout)
      return stdout.replace(place, '/clusters')
    }
    mkdirSync(join(place, 'home/.kube'), { recursive: true })
    writeCluster(place, [...base, ...validity('20d', '1d')])
    await run(made, 0, 'component-certs/kube-scheduler')
    writeCluster(place, [...base, ...validity('10y', '1d')])
    const all = lab ? ['bootstrap'] : local
    await run(made, 0, ...all)

    writeCluster(place, [...base, ...validity('10y', '30d'), [['api', 'extraSANs'], ['api.example.org']]])
    rmSync(join(auth, 'worker0.kubeconfig'))
    chmodSync(join(auth, 'control0-key.pem'), 0o644)
    if (lab) {
      const onNode = (name: string, file: string) => join(lab.node('many').home, name, file)
      rmSync(onNode('gateway', 'ca.pem'))
      writeFileSync(onNode('control0', 'kube-proxy.kubeconfig'), 'other')
    }
    assertGolden(`status-${count}.txt`, await run(looked, 4, 'status', ...(lab ? ['--on-nodes'] : [])))
    assertGolden(`plan-${count}.txt`, await run(looked, 4, ...all, '--dry-run'))
  })
