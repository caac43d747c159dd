import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inNamespace, needsNamespaces } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const sockets = pathToFileURL(join(import.meta.dirname, '../../../lib/ssh/sockets.ts')).href
const script = `process.stdout.write((await import('${sockets}')).makeSocketFolder())`

describe('the folder for sockets', () => {
  /** Made by a process that ends without removing it. */
  const make = (folder: string, by: readonly string[]) => {
    const [program = '', ...args] = [...by, process.execPath, '--input-type=module', '-e', script]
    return execFileSync(program, args, { encoding: 'utf8', env: { ...process.env, TMPDIR: folder } })
  }

  test('of a run that was killed is removed by the next', (t) => {
    const folder = scratch(t)
    const first = make(folder, [])
    assert.ok(existsSync(first))
    assert.ok(existsSync(make(folder, [])))
    assert.ok(!existsSync(first))
  })

  test('of a run in another container stays, whatever its pid is here', { skip: needsNamespaces() }, (t) => {
    const folder = scratch(t)
    const first = make(folder, [])
    make(folder, inNamespace)
    assert.ok(existsSync(first))
    rmSync(first, { recursive: true })
  })
})
