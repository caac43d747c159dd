/** The access to auth/: the lock, the report of a failure and the end are the same for all commands. */
import assert from 'node:assert/strict'
import { existsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Failure } from '../../../lib/failure.ts'
import { notices, type Summary, toDoOf } from '../../../lib/show/rows.ts'
import { authBeside, type CommandRun, writeAuth } from '../../../tasks/run/command-run.ts'
import { parseOptions } from '../../../tasks/run/options.ts'
import { scratch } from '../../support/files.ts'

/** As much of a CommandRun as it takes, and what is printed. */
function runIn(t: TestContext) {
  const place = scratch(t)
  const lock = join(place, 'auth/.lock')
  const printed: string[] = []
  const at = {
    cluster: { name: 'kubenet', layout: 'harder-way', etcd: { ca: 'shared' }, nodes: [{}], ssh: {} },
    file: join(place, 'cluster.yaml'),
  } as unknown as CommandRun
  const run = {
    ...at,
    auth: authBeside(at),
    options: parseOptions([]),
    signal: new AbortController().signal,
    host: { now: () => new Date(5_000) },
    endedStatus: () => undefined,
    print: (line: string) => printed.push(line),
    printError: (line: string) => printed.push(line),
  } as unknown as CommandRun
  const reporter = {
    note: (text: string) => printed.push(`note: ${text}`),
    problem: ({ message }: Failure) => printed.push(`problem: ${message}`),
    end: async (summary: Summary) => {
      assert.ok(!existsSync(lock))
      const toDo = toDoOf(summary)
      printed.push(`exit ${summary.exit}${toDo.length > 0 ? `, to do: ${toDo}` : ''}`)
    },
  }
  return { run, reporter, printed, lock, cluster: `kubenet: ${run.file}, 1 node` }
}

test('auth/ that is a link to nothing may be on a disk that is not mounted: nothing is done, and no command is offered', (t) => {
  const { run } = runIn(t)
  symlinkSync(join(scratch(t), 'disk'), run.auth.path)
  assert.throws(() => authBeside(run), {
    kind: 'failed',
    message: /which does not exist; is its disk mounted\?$/,
    remedy: undefined,
  })
})

test('a writer works while auth/ is locked, after the cluster is named; its end is reported without the lock', async (t) => {
  const { run, reporter, printed, lock, cluster } = runIn(t)
  const causes = await writeAuth(run, {
    reporter,
    work: async ({ note }) => {
      assert.ok(existsSync(lock))
      note('working')
      return { causes: [] }
    },
    closing: async () => {
      assert.ok(existsSync(lock))
      return { notices: [...notices('note', 'a note'), ...notices('todo', 'this')] }
    },
  })
  assert.deepEqual(causes, ['unfinished'])
  assert.deepEqual(printed, [cluster, 'note: working', 'note: a note', 'exit 4, to do: this'])
})
