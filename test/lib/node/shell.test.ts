import assert from 'node:assert/strict'
import { test } from 'node:test'
import { forgetScript } from '../../../lib/node/places.ts'
import { bothScripts, readAnswer, wholeScript } from '../../../lib/node/shell.ts'
import { scratch } from '../../support/files.ts'
import { inEachShell, oddEnvironment } from '../../support/node-shells.ts'

inEachShell(({ did, run }) => {
  test('a script leaves no core file, writes for its user alone, and finds every file, whatever its login set', (t) => {
    const home = scratch(t)
    const script = wholeScript(': > ca.pem', ': > ca.pem', 'echo *.pem', 'umask', 'ulimit -c', 'echo "$-"')
    const [files, mask, core, options] = did(home, `umask 0\n${oddEnvironment}${script}`).split('\n')
    assert.deepEqual([files, Number.parseInt(mask ?? '', 8), core], ['ca.pem', 0o077, '0'])
    assert.match(String(options), /^[^Cfu]*e[^Cfu]*$/)
  })

  test("root's shell neither", () => {
    const nonce = '0123456789abcdef'
    // In place of sudo: what root's shell reads is a command of its own then.
    const script = forgetScript({ source: '/', sudo: 'env' }, new Map(), nonce)
    const early = script.replace('answer() {', 'ulimit -c; echo "$-"; exit\nanswer() {')
    const [core, options] = readAnswer(did('/', oddEnvironment + early), nonce).records
    assert.equal(core, 'said 0')
    assert.match(String(options), /^said [^Cfu]*e[^Cfu]*$/)
  })

  test('of two in one go each ends at what fails in it, and the first tells the status', () => {
    const scripts = (first: string, second: string) =>
      bothScripts(wholeScript(first, 'echo 1'), wholeScript(second, 'echo 2'))
    const ran = (first: string, second: string) => {
      const { status, stdout, stderr } = run('/', scripts(first, second))
      return [status, stdout, stderr]
    }
    const fails = 'echo no >&2; false'
    assert.deepEqual(ran(':', ':'), [0, '1\n2\n', ''])
    assert.deepEqual(ran(fails, ':'), [1, '', 'no\n'])
    assert.deepEqual(ran(':', fails), [0, '1\n', ''])
  })
})
