/**
 * A process in which no ssh can be started, for ssh-process.test.ts: it has as many open files as it may (`files`), or may
 * have no more processes (`processes`). It prints what came of trying.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { Failure } from '../../lib/failure.ts'
import { spawn } from '../../lib/process.ts'

const open: number[] = []
const limits = {
  files: () => {
    try {
      for (;;) open.push(openSync('/dev/null', 'r'))
    } catch {
      // No more.
    }
  },
  processes: () => execFileSync('prlimit', ['--pid', String(process.pid), '--nproc=1:1']),
}
const limit = process.argv[2] as keyof typeof limits
// What is loaded when it is first asked for is loaded now.
const options = { cwd: '/', env: process.env, signal: new AbortController().signal }
await spawn(['true'], { ...options, input: '' })
limits[limit]()
const said = await spawn(['ssh', '-V'], { ...options, input: '' }).then(tell, tell)
for (const fd of open) closeSync(fd)
process.stdout.write(JSON.stringify(said))

function tell(what: unknown): unknown {
  return what instanceof Failure ? { message: what.message, code: what.code } : String(what)
}
