/** How a command is carried out: the lock, the report of a failure and the end are the same for all. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Failure, usageFailure } from '../../../lib/failure.ts'
import type { CaAdvice } from '../../../lib/show/advice.ts'
import type { Summary } from '../../../lib/show/summary.ts'
import { perform } from '../../../tasks/commands/perform.ts'
import type { ClusterCommand } from '../../../tasks/commands/table.ts'
import type { Reading, Writing } from '../../../tasks/request/job.ts'
import { parseOptions } from '../../../tasks/request/options.ts'
import type { Request } from '../../../tasks/request/session.ts'
import { scratch } from '../../support/scratch.ts'

const row = { name: 'fake', does: '', options: [], findings: {} }
const nothing = { outcomes: new Map(), findings: [] }

function writer(load: (request: Request) => Writing, loadPlan?: (request: Request) => Reading): ClusterCommand {
  return {
    ...row,
    auth: 'writes',
    load: async () => load,
    ...(loadPlan && { loadPlan: async () => loadPlan }),
  }
}

/** As much of a Request as it takes, and what is printed. */
function requestIn(t: TestContext, ...args: string[]) {
  const place = scratch(t)
  const lock = join(place, 'auth/.lock')
  const printed: string[] = []
  const request = {
    cluster: { name: 'kubenet', layout: 'harder-way', nodes: [{}], ssh: { concurrency: 1 } },
    file: join(place, 'cluster.yaml'),
    options: parseOptions(args),
    signal: new AbortController().signal,
    env: {},
    now: () => new Date(),
    endedStatus: () => undefined,
    print: (line: string) => printed.push(line),
    printError: (line: string) => printed.push(line),
  } as unknown as Request
  const reporter = {
    note: (text: string) => printed.push(`note: ${text}`),
    problem: ({ message }: Failure) => printed.push(`problem: ${message}`),
    end: async ({ exit, toDo }: Summary) => {
      assert.ok(!existsSync(lock))
      printed.push(`exit ${exit}${toDo ? `, to do: ${toDo}` : ''}`)
    },
  }
  return { request, reporter, printed, lock, cluster: `kubenet: ${request.file}, 1 node` }
}

test('a writer works while auth/ is locked, after the cluster is named; its end is reported without the lock', async (t) => {
  const { request, reporter, printed, lock, cluster } = requestIn(t)
  const command = writer(() => ({
    reporter,
    work: async ({ run }) => {
      assert.ok(existsSync(lock))
      run.note('working')
      return { outcomes: new Map(), findings: ['stale'] }
    },
    closing: () => {
      assert.ok(existsSync(lock))
      return { advice: [], nextToExpire: undefined, toDo: ['this'] }
    },
  }))
  assert.deepEqual(await perform(command, request), ['stale'])
  assert.deepEqual(printed, [cluster, 'note: working', 'exit 4, to do: this'])
})

test('a failure of the work is reported, gives the lock back, and is the exit status', async (t) => {
  const { request, reporter, printed, lock, cluster } = requestIn(t)
  const work = async () => {
    throw new Failure('no', { kind: 'refused' })
  }
  assert.deepEqual(
    await perform(
      writer(() => ({ reporter, work })),
      request,
    ),
    ['refused'],
  )
  assert.deepEqual(printed, [cluster, 'problem: no', 'exit 3'])
  assert.ok(!existsSync(lock))
  await assert.rejects(
    perform(
      writer(() => ({ work })),
      request,
    ),
    { message: 'no' },
  )
  assert.ok(!existsSync(lock))
})

test('a writer that reports its end leaves it in the metrics, if there are any and however it ends', async (t) => {
  const { request, reporter, lock } = requestIn(t)
  const metrics = join(lock, '../report.prom')
  const run = async (given: Partial<Writing>, work: Writing['work']) => {
    const command = writer(() => ({ ...given, work }))
    await perform(command, { ...request, now: () => new Date(5_000) })
    return (
      existsSync(metrics) &&
      readFileSync(metrics, 'utf8')
        .split('\n')
        .filter((line) => line && !line.startsWith('#'))
    )
  }
  const lines = (exit: number) => [
    'other 1',
    'harderway_last_run_timestamp_seconds{cluster="kubenet"} 5',
    `harderway_last_run_exit_status{cluster="kubenet"} ${exit}`,
  ]
  assert.equal(await run({ reporter }, async () => nothing), false)
  writeFileSync(metrics, 'other 1\n')
  assert.deepEqual(await run({}, async () => nothing), ['other 1'])
  assert.deepEqual(await run({ reporter }, async () => nothing), lines(0))
  const fail = async () => {
    throw new Failure('no')
  }
  assert.deepEqual(await run({ reporter }, fail), lines(1))
  const caEnds = { at: new Date(), commands: [] } as unknown as CaAdvice
  const closing = () => ({ advice: [], nextToExpire: undefined, caEnds })
  assert.deepEqual(await run({ reporter, closing }, async () => nothing), lines(4))
})

test('bad usage is thrown before anything is printed or made', async (t) => {
  const { request, printed, lock } = requestIn(t)
  const command = writer(() => {
    throw usageFailure('no such thing')
  })
  await assert.rejects(perform(command, request), { kind: 'usage' })
  assert.deepEqual([printed, existsSync(join(lock, '..'))], [[], false])
})

test('with --dry-run a plan is read in place of the work, and nothing is written', async (t) => {
  const { request, printed, lock, cluster } = requestIn(t, '--dry-run')
  const command = writer(
    () => ({ work: async () => nothing }),
    () => ({
      read: async () => async () => {
        request.print('planned')
        return ['stale']
      },
    }),
  )
  assert.deepEqual(await perform(command, request), ['stale'])
  assert.deepEqual(printed, [cluster, 'planned'])
  assert.ok(!existsSync(join(lock, '..')))
})

test('what a reader found while a run began is not shown', async (t) => {
  const { request, printed, lock } = requestIn(t)
  const auth = join(lock, '..')
  let reads = 0
  const command: ClusterCommand = {
    ...row,
    auth: 'reads',
    load: async () => () => ({
      read: async () => {
        reads += 1
        const found = `read ${reads}`
        if (reads === 1) mkdirSync(auth)
        return async () => {
          request.print(found)
          return []
        }
      },
    }),
  }
  assert.deepEqual(await perform(command, request), [])
  assert.deepEqual([printed, readdirSync(auth)], [['read 2'], []])
})
