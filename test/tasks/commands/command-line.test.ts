import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { parseCommandLine } from '../../../tasks/cli.ts'
import { type Command, help, run } from '../../../tasks/commands/commands.ts'

const helpOf = (command: Command) => help(command, [command.name || 'bootstrap'])

function helped(line: string): string {
  const { command, options } = parseCommandLine(line.split(' '))
  return help(command, options.names)
}

test('--help after a command, a phase or a target is the help of it, and after any other word the general one', () => {
  assert.equal(helped('status certs --force --help'), helped('status -h'))
  assert.equal(helped('node-certs/worker0 -h'), helped('bootstrap --help'))
  for (const line of ['help', 'foo --help', '--help']) assert.equal(helped(line), help(run, []), line)
})

test('words of other tools mean what they mean there: plan is bootstrap --dry-run, and nodes follow what shows them', () => {
  const parsed = (line: string) => {
    const { command, options } = parseCommandLine(line.split(' '))
    const { names, nodes, dryRun } = options
    return { name: command.name, names, nodes, dryRun }
  }
  for (const [line, same] of [
    ['plan', 'bootstrap --dry-run'],
    ['plan certs', 'certs --dry-run'],
    ['plan rotate ca', 'rotate ca --dry-run'],
    ['status worker0', 'status --node worker0'],
    ['verify control0 worker0', 'verify --node control0 --node worker0'],
  ] as const)
    assert.deepEqual(parsed(line), parsed(same), line)
  assert.throws(() => parsed('plan status'), /--dry-run is not an option of status/)
  assert.equal(helped('plan --help'), helpOf(run))
})

test('a command takes no other command beside it, and no option of others: the message says which take it', () => {
  for (const [line, message] of [
    ['bootstrap verify', "bootstrap can't be combined with verify"],
    ['status certs', "status can't be combined with certs"],
    ['recover ca', "recover can't be combined with ca"],
    ['certs --on-nodes', '--on-nodes is not an option of runs, only of status and report'],
    ['recover --node control0 --force', '--force is not an option of recover, only of runs and rotate'],
  ] as const)
    assert.throws(
      () => parseCommandLine(line.split(' ')),
      (error: unknown) => {
        assert.ok(error instanceof Failure, String(error))
        assert.deepEqual([error.kind, error.message], ['usage', message])
        assert.match(error.remedy ?? '', /^see:\s+npm run task -- (\w+ )?--help$/)
        return true
      },
    )
})
