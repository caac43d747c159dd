/** The CA of etcd on six machines: back from its first stage, beside the cluster's, and once more. No node has the key of a CA. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import type { Edit } from '../support/harderway.ts'
import {
  assertNothingLeft,
  countCaKeys,
  everywhere,
  mustRun,
  ownEtcdFlags,
  probedOwn,
  readStarts,
  running,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
  unnoticed,
  withoutSigning,
} from '../support/running.ts'

const own: Edit[] = [
  [['etcd', 'ca'], 'own'],
  [['certificates'], { key: 'ecdsa-p256', caKeyOnNodes: false }],
]
const servers = [...everywhere('etcd'), ...everywhere('kube-apiserver')].toSorted()

describe("a CA of etcd's own", { skip }, () => {
  let lab: Machines
  before(async () => {
    lab = await startRunning(`${shutdownDelay}\n${ownEtcdFlags}\n${withoutSigning}`)
    lab.write(...running({}, ...own))
  })
  after(() => lab?.stop())

  const keys = () => lab.machine('control0').exec(countCaKeys)

  /** From its first stage on the API servers have what it issues. */
  const rotated = (work: () => Promise<void>) => unnoticed(lab, work, probedOwn(lab))
  const opens = (as: string) =>
    statusOf(lab, `https://${lab.machine('control1').ip}:2379/health`, `auth/${as}`, 'auth/etcd-ca.pem')

  test("comes by the cluster's, and a rotation of it that is undone leaves that", async () => {
    const starts = await readStarts(lab)
    await mustRun(lab, 0, 'rotate', 'etcd-ca')
    await mustRun(lab, 0, 'rotate', 'etcd-ca', '--undo')
    await mustRun(lab, 0, 'bootstrap', '--prune')
    assert.equal(await keys(), '0\n')
    assert.equal(await opens('worker0'), '200')
    assert.deepEqual(await startedSince(lab, starts), [])
    await rotated(async () => {
      await mustRun(lab, 0, 'rotate', 'etcd-ca')
      await mustRun(lab, 0, 'rotate', 'etcd-ca', '--finish')
    })
    assert.deepEqual(await startedSince(lab, starts), servers)
    assert.equal(await opens('worker0'), '000')
  })

  test("does not go back to the cluster's", async () => {
    lab.write(...running())
    assert.match((await mustRun(lab, 3, 'bootstrap')).stderr, /etcd has a CA of its own/)
    lab.write(...running({}, ...own))
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
  })

  test("is left alone by a rotation of the cluster's, and is rotated by its own", async () => {
    const starts = await readStarts(lab)
    await rotated(async () => {
      await mustRun(lab, 0, 'rotate', 'ca')
      await mustRun(lab, 0, 'rotate', 'ca', '--finish')
    })
    const started = await startedSince(lab, starts)
    assert.deepEqual(
      started.filter((unit) => unit.endsWith(' etcd')),
      [],
    )
    await lab.exec('mkdir old; cp auth/*.pem old')
    await rotated(async () => {
      await mustRun(lab, 0, 'rotate', 'etcd-ca')
      await mustRun(lab, 0, 'rotate', 'etcd-ca', '--finish')
    })
    const url = `https://${lab.machine('control2').ip}:2379/health`
    assert.equal(await statusOf(lab, url, 'old/apiserver-etcd-client', 'auth/etcd-ca.pem'), '000')
    assert.equal(await keys(), '0\n')
    await mustRun(lab, 0, 'verify')
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
    await assertNothingLeft(lab)
  })
})
