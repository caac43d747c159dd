/** What --dry-run says of a cluster that is deployed, and that the run then does just that. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { idsOf, withStatus } from '../support/harderway.ts'
import { type LocalLab, makeSevenNodes, type SevenNodes, sevenNames } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const controls = sevenNames.slice(0, 3)
describe('the plan of a dry run', { skip: needs('ssh') }, () => {
  let seven: SevenNodes<LocalLab>

  before(async () => {
    seven = await makeSevenNodes()
  })
  after(async () => await seven[Symbol.asyncDispose]())

  /**
   * The plan in words and as JSON; the run after it makes what was planned, so that the next test's plan has nothing of
   * it.
   */
  const planAndRun = async () => {
    const [words, dry] = [
      await seven.run('bootstrap', '--dry-run'),
      await seven.run('bootstrap', '--dry-run', '--json'),
    ]
    assert.deepEqual([words.status, dry.status, words.stderr], [4, 4, ''])
    const lines = words.stdout
      .trimEnd()
      .split('\n')
      .filter((line) => !line.startsWith('To do'))
    const last = dry.events.slice(-2).map(({ type }) => type)
    assert.deepEqual(last, ['plan', 'summary'])
    assert.equal(lines.pop(), `Plan hash: ${dry.events.at(-2)?.hash}`)
    const { stale, fresh } = dry.events.at(-1) ?? {}
    assert.deepEqual([lines.pop(), lines.pop()], ['    npm run bootstrap', 'To carry it out:'])
    const counts = lines.at(-1)
    const run = await withStatus(0, seven.run('bootstrap', '--json'))
    assert.deepEqual(idsOf(run, 'built'), idsOf(dry, 'stale'))
    const { made, fresh: left } = run.events.at(-1) ?? {}
    assert.deepEqual([made, left], [stale, fresh])
    return { plan: lines.slice(1, -2), counts, planned: idsOf(dry, 'stale') }
  }

  test('for another name of the API is the certificate, the control nodes and nothing of what stays: its units take it up by themselves', async () => {
    seven.write([['api', 'extraSANs'], ['192.168.1.99']])
    const { plan, planned, counts } = await planAndRun()
    assert.match(plan[1] ?? '', /^ {2}~ kubernetes\.pem {2}adds SAN 192\.168\.1\.99; expires \d{4}-\d\d-\d\d$/)
    assert.deepEqual(plan.slice(2), ['Deploy to nodes', '  ~ control0, control1, control2  kubernetes.pem differs'])
    assert.deepEqual(planned, ['cluster-cert', ...controls.map((name) => `deploy/${name}`)])
    assert.equal(counts, 'Plan: ~ 4 changed')
  })

  test('for a kubeconfig that is lost here ends there: its node has the same', async () => {
    rmSync(join(seven.path, 'auth/worker1.kubeconfig'))
    const { stdout } = await withStatus(4, seven.run('bootstrap', '--dry-run'))
    assert.deepEqual(stdout.split('\n').slice(1, 4), ['Kubeconfigs', '  + worker1.kubeconfig', ''])
    assert.deepEqual(idsOf(await seven.run('bootstrap', '--json'), 'built'), ['kubeconfigs/worker1'])
  })

  test('of a first run has everything new, and restarts nothing', async () => {
    seven.empty()
    for (const folder of ['auth', 'home/.kube']) rmSync(join(seven.path, folder), { recursive: true })
    const { plan, planned, counts } = await planAndRun()
    assert.equal(planned.length, 32)
    assert.equal(counts, 'Plan: + 32 new')
    assert.match(plan[0] ?? '', /^creates a new cluster identity/)
    assert.match(plan[2] ?? '', /^ {2}\+ ca\.pem {2}expires \d{4}-\d\d-\d\d$/)
    assert.equal((await seven.run('bootstrap', '--dry-run')).status, 0)
  })
})
