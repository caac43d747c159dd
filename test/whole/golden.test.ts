/**
 * What `status` and `--dry-run` print for a cluster of three nodes in which one thing of each kind is wrong, byte for
 * byte; the plan of two hundred, which is folded; the graph; and what `--json` prints in the life of a small one. UPDATE_GOLDEN=1 writes
 * the files anew: read the difference as a user would.
 */
import assert from 'node:assert/strict'
import { appendFileSync, chmodSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { metricsFile } from '../../lib/files/auth-dir.ts'
import { scratch } from '../support/files.ts'
import { type Edit, harderway, labEdits, oneOfEach, type Ran, writeCluster } from '../support/harderway.ts'
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
  const golden = readFileSync(file, 'utf8')
  if (stable === golden) return
  assert.deepEqual(stable.split('\n'), golden.split('\n'))
  assert.fail(`${name} has changed: UPDATE_GOLDEN=1 writes it anew`)
}

for (const { count, controls, isDeployed } of [
  { count: 3, controls: 1, isDeployed: true },
  { count: 200, controls: 5, isDeployed: false },
])
  test(`a plan of ${count} nodes reads as it should`, {
    skip: needs(...(isDeployed ? ['ssh'] : [])),
  }, async (t) => {
    const place = scratch(t)
    await using lab = isDeployed ? startLocalLab(join(place, 'lab'), ['many']) : undefined
    const auth = join(place, 'auth')
    const base: Edit[] = [...(lab ? labEdits(lab) : []), nodesOf(count, controls)]
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
      appendFileSync(onNode('control0', 'kube-proxy.kubeconfig'), '# changed\n')
    }
    if (lab) assertGolden(`status-${count}.txt`, await run(looked, 4, 'status', '--on-nodes'))
    assertGolden(`plan-${count}.txt`, await run(looked, 4, ...all, '--dry-run'))
  })

/** Fields and lines in the order of their names; without how far it is. */
function stableLines(events: Ran['events'], place: string): string[] {
  const lines = events.filter(({ type }) => !['started', 'queued', 'building', 'step'].includes(String(type)))
  const stable = lines.map(({ type, id, ...rest }) =>
    JSON.stringify({ type, id, ...Object.fromEntries(Object.entries(rest).toSorted()) })
      .replaceAll(place, '/clusters')
      .replace(/"seconds":[\d.]+/, '"seconds":0')
      .replaceAll(/\b([0-9a-f]{64}\b|[0-9a-f]{12}…)/g, '…')
      .replaceAll(/\b\d{4}-\d\d-\d\d(T[\d:.-]+Z)?/g, (_, time) => (time ? 'TIME' : 'DATE')),
  )
  return stable.toSorted()
}

test('what --json prints, and the metrics, read as they should', { skip: needs('ssh') }, async (t) => {
  const place = scratch(t)
  await using lab = startLocalLab(join(place, 'lab'), ['control0', 'worker0', 'gateway'])
  const auth = join(place, 'auth')
  const write = (...edits: Edit[]) => writeCluster(place, [...oneOfEach, ...labEdits(lab), ...edits])
  const users = (...all: object[]): Edit => [['users'], all]
  const onNode = (name: string, file: string) => join(lab.node(name).home, file)
  const said: string[] = []
  const record = async (...args: string[]) => {
    const { status, stderr, events } = await harderway(place, ...args, '--json')
    said.push(`# ${args.join(' ')}: ${status}${stderr}`, ...stableLines(events, place), '')
  }
  const recordAll = async (title: string, ...calls: readonly string[]) => {
    said.push(`## ${title}`, '')
    for (const call of calls) await record(...call.split(' '))
  }

  write([['certificates', 'renewBefore'], '1d'], users({ name: 'jane', validity: '20d' }))
  await recordAll(
    'A new cluster',
    ...['init new --control c0=10.0.0.1 --worker w0.invalid', 'bootstrap --dry-run', 'bootstrap', 'bootstrap'],
    ...['status --on-nodes', 'verify', 'report'],
  )

  cpSync(auth, join(place, 'backup'), { recursive: true, preserveTimestamps: true })
  rmSync(join(auth, 'worker0.kubeconfig'))
  chmodSync(join(auth, 'control0-key.pem'), 0o644)
  writeFileSync(join(auth, 'admin-key.pem'), 'no key')
  rmSync(onNode('gateway', 'ca.pem'))
  cpSync(join(auth, 'admin.kubeconfig'), onNode('worker0', 'admin.kubeconfig'))
  await lab.node('control0').stop()
  write(
    [['api', 'extraSANs'], ['api.example.org']],
    [['certificates', 'validity'], '300d'],
    users({ name: 'jane', groups: ['system:nodes'] }),
  )
  await recordAll(
    'One thing of each kind is wrong, and a node is down',
    ...['status --on-nodes', 'verify', 'bootstrap --dry-run', 'bootstrap', 'deploy --node worker0 --prune'],
  )

  await lab.node('control0').start()
  write([['install'], true], users())
  await recordAll(
    'A rotation',
    ...[
      'rotate ca --dry-run',
      'rotate ca --force',
      'rotate service-account',
      'status --on-nodes',
      'bootstrap --dry-run',
    ],
    ...['bootstrap', 'rotate ca --undo', 'rotate ca --undo'],
  )

  const keptOff: Edit = [['certificates', 'caKeyOnNodes'], false]
  const leftOut: Edit = [['install'], { units: { 'kube-proxy': false } }]
  write(keptOff, users())
  await recordAll('A key is left, and a user is gone', 'bootstrap')
  write(keptOff, users(), leftOut, [['revoked'], ['jane', 'misspelt']])
  await recordAll(
    'Names are revoked, and no API server runs',
    ...['bootstrap --dry-run', 'revoked install', 'bootstrap', 'bootstrap', 'status --on-nodes'],
    'report --on-nodes --format prometheus',
  )
  const metrics = readFileSync(join(auth, metricsFile), 'utf8')
  said.push(metrics.replaceAll(/ \d{10}$/gm, ' TIME'))

  const mistakes = ['component-certs/service-account --force', 'recover --from backup', 'status --node nobody']
  await recordAll('Refusals and mistakes', ...mistakes)
  write([['nodez'], []])
  await recordAll('Mistakes in cluster.yaml', 'bootstrap')

  write()
  renameSync(auth, join(place, 'lost'))
  await recordAll(
    'auth/ is lost',
    ...['status', 'bootstrap --dry-run', 'recover --from backup --dry-run', 'recover --node control0', 'bootstrap'],
  )
  assertGolden('json.txt', said.join('\n'))
})
