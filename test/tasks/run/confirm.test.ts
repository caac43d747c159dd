import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import type { CommandRun } from '../../../tasks/run/command-run.ts'
import { confirm } from '../../../tasks/run/host.ts'

/** What is asked, and how it ends. `typed`: undefined where nobody is there. */
async function ask(typed: string | undefined, { yes = false, isInterrupted = false } = {}) {
  const isTTY = typed !== undefined
  const [stdin, stderr] = [new PassThrough(), new PassThrough()].map((stream) => Object.assign(stream, { isTTY }))
  // A terminal does not end.
  if (typed?.endsWith('\n')) stdin?.write(typed)
  else if (!isInterrupted) stdin?.end(typed)
  const signal = isInterrupted ? AbortSignal.abort(new Error('interrupted')) : new AbortController().signal
  const run = {
    ...{ cluster: { name: 'kubenet' }, command: (task: string) => task, file: '/x/cluster.yaml', signal },
    ...{ host: { stdin: () => stdin, stderr }, options: { yes } },
  } as unknown as CommandRun
  const ended = await confirm(run, 'a new ca replaces the present one', 'ca --force').then(
    () => 'confirmed',
    (error) => [error.kind ?? 'aborted', error.remedy],
  )
  return { asked: String(stderr?.read() ?? ''), ended, isRead: stdin?.readableFlowing === true }
}

test('what a running cluster depends on is replaced where its name is typed', async () => {
  const { asked, ended, isRead } = await ask('kubenet\nmore\n')
  assert.equal(ended, 'confirmed')
  assert.equal(isRead, false, 'the process would not end')
  assert.equal(
    asked,
    'kubenet (/x/cluster.yaml): a new ca replaces the present one\nTo continue, type the cluster name: ',
  )
})

test('it is not where another is typed, or nothing, or there is no terminal, where --yes is named', async () => {
  for (const typed of ['yes\n', '\nkubenet\n', ''])
    assert.deepEqual((await ask(typed)).ended, ['refused', '- run the same command again, and type kubenet'], typed)
  assert.deepEqual((await ask(undefined)).ended, [
    'refused',
    '- confirm on a terminal, or add --yes:\n      ca --force --yes',
  ])
  assert.deepEqual((await ask('', { isInterrupted: true })).ended, ['aborted', undefined])
})

test('--yes is the answer, with and without a terminal', async () => {
  for (const typed of ['', undefined])
    assert.deepEqual(await ask(typed, { yes: true }), { asked: '', ended: 'confirmed', isRead: false })
})
