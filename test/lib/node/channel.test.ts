import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Failure } from '../../../lib/failure.ts'
import type { Connection } from '../../../lib/node/connection.ts'
import { Node } from '../../../lib/node/node.ts'
import { message, readAnswer } from '../../../lib/node/state.ts'
import { scratch } from '../../support/files.ts'
import { inEachShell, nonce, oddEnvironment } from '../../support/node-shells.ts'
import { needs } from '../../support/programs.ts'

inEachShell(({ did, run }) => {
  const shellOf = `: > ca.pem; echo *.pem; umask; ulimit -c; echo "$-"`
  /** As `look_at_folder` would be reached. */
  const instead = (script: string) => script.replace('look_at_folder() {', `look_at_folder() { ${shellOf}; exit`)

  test('it leaves no core file, writes for its user alone, and finds every file, whatever its login set', (t) => {
    const home = scratch(t)
    const script = instead(message('look', ['folder ~'], nonce))
    const [, , files, mask, core, options] = did(home, `umask 0\n: > ca.pem\n${oddEnvironment}${script}`).split('\n')
    assert.deepEqual([files, Number.parseInt(mask ?? '', 8), core], ['ca.pem', 0o077, '0'])
    assert.match(String(options), /^[^Cfu]*e[^Cfu]*$/)
  })

  test("root's shell neither", () => {
    // In place of sudo.
    const script = message('forget', ['folder /', 'sudo env'], nonce)
    const early = script.replace('forget_files() {', 'forget_files() { ulimit -c; echo "$-"; exit')
    const [, , core, options] = did('/', oddEnvironment + early).split('\n')
    assert.equal(core, '0')
    assert.match(String(options), /^[^Cfu]*e[^Cfu]*$/)
  })

  test('values are data: no shell expands or runs them', (t) => {
    const home = scratch(t)
    const values = ['$(touch made)', '`touch made`', "'; touch made; '", '\\', '*', '$HOME', '-n', 'LINES', '']
    for (const value of values) {
      const { stdout } = run(home, message('look', [`folder ~/none ${value}`, `expect ${value} -`], nonce))
      assert.equal(readAnswer(stdout, nonce, 'folder').records.at(-1), 'absent', value)
      assert.throws(() => readAnswer(run(home, 'ls').stdout, nonce, 'folder'), Failure)
      assert.equal(did(home, 'ls'), '', value)
    }
    assert.throws(() => message('look', ['folder ~\ntouch made'], nonce), /line break/)
  })
})

test('shellcheck has no complaint of what runs on a node', { skip: needs('shellcheck') }, () => {
  execFileSync('shellcheck', [fileURLToPath(new URL('../../../lib/node/node.sh', import.meta.url))], {
    stdio: 'inherit',
  })
})

describe('by a login shell, as sshd starts it,', () => {
  const home = scratch({ after })
  const lookBy = (shell: string) => {
    const env = { PATH: process.env.PATH, HOME: home }
    const input = message('look', ['folder ~/none'], nonce)
    const { stdout } = spawnSync(shell, ['-c', 'sh -s'], { input, cwd: home, encoding: 'utf8', env })
    return readAnswer(stdout, nonce, 'folder').records
  }
  for (const shell of ['fish', 'csh'])
    test(`${shell}, it works`, { skip: needs(shell) }, () => {
      assert.equal(lookBy(shell).at(-1), 'absent')
    })
})

describe('a node', () => {
  const nodeWith = (answer: (script: string) => string) =>
    new Node('n', { run: async (script: string) => answer(script) } as unknown as Connection)
  const command = { sudo: '', command: 'true' }
  const nonceOf = (script: string) => /^main "\$program" run (\w+)/m.exec(script)?.[1] ?? ''
  const whole = (script: string) =>
    `${nonceOf(script)}-run begin\nsaid status 7\nsaid one\n${nonceOf(script)}-run end 2\n`

  test('that failed before it answered has replaced nothing, and its failure is told as it is', async () => {
    const full = new Failure('tar: No space left on device', { node: 'n', code: 'other' })
    const node = nodeWith(() => {
      throw full
    })
    const change = { folder: '/', files: [], unchanged: [], seen: new Map() }
    await assert.rejects(
      node.replace(change, () => ''),
      full,
    )
  })

  const noAnswers: Readonly<Record<string, (script: string) => string>> = {
    'one that is cut off': (script) => whole(script).slice(0, -8),
    'two of them': (script) => whole(script).repeat(2),
    'one with a foreign nonce': (script) => whole(script.replaceAll(/\b[0-9a-f]{32}\b/g, nonce)),
    'one without a status': (script) => whole(script).replace('said status 7', 'said fine'),
  }
  for (const [what, answer] of Object.entries(noAnswers))
    test(`of which the answer is ${what} is unknown`, async () => {
      await assert.rejects(
        nodeWith(answer).run(command),
        (error) => error instanceof Failure && error.code === 'not-looked-at' && error.node === 'n',
      )
    })
})
