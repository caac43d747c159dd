import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import pLimit from 'p-limit'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Query } from '../../../lib/node/node.ts'
import type { NodeState } from '../../../lib/node/state.ts'
import { phases } from '../../../tasks/bootstrap.ts'
import { clusterGraph, type Run } from '../../../tasks/cluster-target.ts'
import { findOtherCluster } from '../../../tasks/deploy/guards.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { identityFiles } from '../../../tasks/layouts/tables.ts'
import { folderWith, placesWith, rootsFile, twoNodes } from '../../support/fakes.ts'
import { scratch } from '../../support/files.ts'

type Answer = (places: NonNullable<Query['places']>) => NodeState['places']

/** Nothing in the node's folder, and nothing that listens. */
const nothingThere = folderWith({ folder: undefined, uid: 1000 })
const noPlaces = placesWith()

/** Before a CA is made: what stops it, and what is said. A node that gives no answer is down. */
async function find(
  t: TestContext,
  answers: Readonly<Record<string, Answer>>,
  given: { cluster?: Cluster; has?: readonly string[] } = {},
) {
  const { cluster = twoNodes, has = [] } = given
  const notes: string[] = []
  const run = {
    ...{ cluster, options: {}, command: (task: string) => `run ${task}`, note: (text: string) => notes.push(text) },
    auth: new AuthDir(join(scratch(t), 'auth'), harderWay.files),
    limits: { auth: pLimit(1), node: pLimit(1), kubeconfig: pLimit(1) },
    connect: async ({ name }: { name: string }) => {
      const answer = answers[name]
      if (!answer) throw new Failure('connection refused', { node: name })
      const look = async ({ places }: Query) => ({ ...nothingThere, places: places && answer(places) })
      const tunnel = async () => new PassThrough().end()
      return { look, tunnel }
    },
  } as unknown as Run
  if (has.length > 0) mkdirSync(run.auth.path)
  for (const file of has) run.auth.write(file, 'there', 0o600)
  const found = await findOtherCluster(run, await clusterGraph(phases, cluster), run.note)
  const refusals = (found ? [found] : []).map(([id, { kind, message, remedy = '' }]) => ({ id, kind, message, remedy }))
  return { notes, refusals }
}

const empty: Answer = () => noPlaces
const ca = '/var/lib/kubernetes/ca.pem'
const holdsCa = { ...noPlaces, files: new Map([[ca, rootsFile]]) }
const needsSudo = { ...twoNodes, install: { ...(twoNodes.install as object), sudo: 'sudo -n' } } as Cluster

test('a control node that can not be looked at stops it: it may have the cluster; workers are not asked', async (t) => {
  const looking = 'looking for an existing CA on c0'
  const down = await find(t, { w0: empty })
  assert.deepEqual(down.notes, [looking])
  const [refused, ...more] = down.refusals
  assert.deepEqual([refused?.id, refused?.kind, more], ['ca', 'refused', []])
  assert.match(String(refused?.message), /^nothing was created: .* the CA .*\(c0: connection refused\)$/)
  assert.match(String(refused?.remedy), /:\s+run recover --node c0$/m)
  assert.match(String(refused?.remedy), /:\n +run certs encryption-key\nthen run the same command again$/m)
  assert.deepEqual(await find(t, { c0: empty }), { notes: [looking], refusals: [] })
})

test('what a unit of a node reads is not made a second time, though the folder has none of it', async (t) => {
  const config = '/var/lib/kubernetes/encryption-config.yaml'
  const answers = { c0: () => ({ ...noPlaces, files: new Map([[config, rootsFile]]) }), w0: empty }
  const has = [...identityFiles(twoNodes).keys()].filter((name) => !config.endsWith(name))
  for (const [files, label] of [
    [has, 'encryption key'],
    [[], 'CA'],
  ] as const) {
    const { refusals } = await find(t, answers, { has: files })
    const [{ message = '', remedy = '' } = {}] = refusals
    assert.match(message, new RegExp(`^${config} on c0, but .* has no ${label}; nothing was created$`))
    assert.match(remedy, /recover --node c0$/m)
  }
})

test('a front proxy is made for a cluster that is there already, whatever serves on its nodes', async (t) => {
  const cluster: Cluster = { ...twoNodes, aggregation: true }
  const has = [...identityFiles(twoNodes).keys()]
  const holds: Answer = () => holdsCa
  assert.deepEqual(await find(t, { c0: holds, w0: holds }, { cluster, has }), { notes: [], refusals: [] })
  assert.equal((await find(t, { c0: holds, w0: empty }, { cluster })).refusals.length, 1)
})

for (const [code, what] of [
  ['no-root', 'not allowed'],
  ['no-answer', 'Failed to connect to bus'],
] as const)
  test(`where the look fails, it is not known that nothing is there: ${code}`, async (t) => {
    const answer: Answer = ({ units, sudo }) =>
      (code === 'no-root' ? sudo !== '' : units.length > 0) ? new Failure(what, { code }) : noPlaces
    const { refusals } = await find(t, { c0: answer, w0: empty }, { cluster: needsSudo })
    assert.match(String(refusals[0]?.message), new RegExp(`^nothing was created: .* the CA .*\\(c0: .*${what}`))
  })
