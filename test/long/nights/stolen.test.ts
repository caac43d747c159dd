/**
 * What was stolen is out, and everybody else is in. etcd shares the CA, so that a list of the revoked alone is not
 * enough.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../../lab/machines/machines.ts'
import { realBinaries } from '../../lab/machines/shared.ts'
import { linesUnder } from '../../support/recipe.ts'
import { skip } from '../../support/running.ts'
import { answers, etcdAnswers, everyone, live, preferLists, startNights, type, writeNight } from './night.ts'

/** Until the CA is replaced, what was stolen opens etcd, and a rotation says so. */
const statusAfter = (line: string) => (line.endsWith('rotate ca') ? 4 : 0)

describe('nights after a theft', { skip }, () => {
  let lab: Machines
  /** What openssl printed. */
  const revoked: string[] = []
  /** Under what leaked: up to the first run, and the rest. */
  const typedUnder = async (heading: string, list: () => void) => {
    const lines = linesUnder(heading)
    const run = lines.findIndex((line) => /^(harderway|npm run) bootstrap$/.test(line))
    for (const line of lines.slice(0, run)) revoked.push((await type(lab, line)).trim())
    list()
    // The list ends nothing at etcd, and the run says so.
    assert.match(await type(lab, lines[run] ?? '', 4), /2379/)
    return lines.slice(run + 1)
  }

  before(async () => {
    lab = await startNights()
    await preferLists(lab)
  })
  after(() => lab?.stop())

  test('a stolen laptop', async (t) => {
    await live(t, lab, async () => {
      await lab.exec('rm -rf stolen; cp -r auth stolen')
      const rest = await typedUnder("A user's key or kubeconfig", () => writeNight(lab, { revoked }))
      assert.deepEqual(await answers(lab, 'stolen/jane'), everyone('500'))
      assert.deepEqual(await etcdAnswers(lab, 'stolen/jane'), everyone('200'))
      for (const line of rest) await type(lab, line, statusAfter(line))
      // The daily run: what is over is counted no more.
      await type(lab, 'harderway bootstrap')
      assert.deepEqual(await answers(lab, 'stolen/jane'), everyone('401'))
      assert.deepEqual(await etcdAnswers(lab, 'stolen/jane'), everyone('000'))
      for (const name of ['jane', 'bob', 'admin']) assert.deepEqual(await answers(lab, `auth/${name}`), everyone('200'))
    })
  })

  test('a stolen worker', async (t) => {
    await live(t, lab, async () => {
      await lab.exec('rm -rf stolen; cp -r auth stolen')
      await lab.machine('worker0').stop()
      const rest = await typedUnder('A worker, or its key', () => writeNight(lab, { revoked, gone: ['worker0'] }))
      for (const name of ['worker0', 'kube-proxy'])
        assert.deepEqual(await answers(lab, `stolen/${name}`), everyone('500'))
      // The second rotation within a day ends older copies of kubeconfigs, and says so.
      const again = (line: string) => line.replace(/rotate ca$/, '$& --force --yes')
      for (const line of rest)
        if (realBinaries || !line.startsWith('kubectl ')) await type(lab, again(line), statusAfter(line))
      for (const name of ['worker0', 'kube-proxy']) {
        assert.deepEqual(await answers(lab, `stolen/${name}`), everyone('401'))
        assert.deepEqual(await etcdAnswers(lab, `stolen/${name}`), everyone('000'))
      }
      // Installed anew, it comes back under its name.
      await lab.machine('worker0').start()
      writeNight(lab, { revoked })
      for (const _ of ['back', 'daily']) await type(lab, 'harderway bootstrap')
      for (const name of ['worker0', 'kube-proxy', 'jane'])
        assert.deepEqual(await answers(lab, `auth/${name}`), everyone('200'))
    })
  })
})
