import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAnswer } from '../../../lib/nodes/frame.ts'
import { readScript } from '../../../lib/nodes/place.ts'
import { wholeScript } from '../../../lib/nodes/shell.ts'
import { inEachShell, oddEnvironment } from '../../support/node-shells.ts'
import { scratch } from '../../support/scratch.ts'

inEachShell(({ did }) => {
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
    const script = readScript({ sudo: 'env', paths: ['/dev/null'] }, nonce).replace('echo done', 'ulimit -c; echo "$-"')
    const { records } = readAnswer(did('/', oddEnvironment + script), nonce)
    const [, core, options] = records
    assert.equal(core, 'said 0')
    assert.match(String(options), /^said [^Cfu]*e[^Cfu]*$/)
  })
})
