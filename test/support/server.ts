/** A server that a test starts: there once it says so, and ended, with no other, when the test is done with it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

export interface Server extends AsyncDisposable {
  /** Everything it has printed, on stdout and on stderr. */
  said(): string
  /** What it said when it was ready. */
  readonly ready: RegExpExecArray
  /** Resolves when it has said that; rejects after a minute without it. */
  told(what: RegExp): Promise<RegExpExecArray>
  stop(): Promise<void>
}

// As with the lab's nodes: nothing may outlive a test that crashes.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Throws, with all that it said, where it is not ready within a minute. */
export async function startServer(program: string, args: readonly string[], ready: RegExp): Promise<Server> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const exited = once(child, 'exit').finally(() => running.delete(child))
  let text = ''
  const told = (what: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const fail = (why: string) => () =>
        settle(() => reject(new Error(`${program} ${why} "${what.source}":\n${text}`)))
      const onTime = setTimeout(fail('did not say'), 60_000)
      const onClose = fail('ended without')
      const look = () => {
        const found = what.exec(text)
        if (found) settle(() => resolve(found))
      }
      const settle = (done: () => void) => {
        clearTimeout(onTime)
        for (const stream of [child.stdout, child.stderr]) stream.off('data', look)
        child.off('close', onClose)
        done()
      }
      child.on('close', onClose)
      for (const stream of [child.stdout, child.stderr]) stream.on('data', look)
      look()
    })
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  const stop = async () => {
    child.kill('SIGKILL')
    await exited
  }
  try {
    return { said: () => text, ready: await told(ready), told, stop, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Ports of 127.0.0.1 that are free now, all of them different. */
export async function freePorts(count: number): Promise<number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(listeners.map((listener) => once(listener, 'listening')))
  const ports = listeners.map((listener) => (listener.address() as AddressInfo).port)
  await Promise.all(listeners.map((listener) => once(listener.close(), 'close')))
  return ports
}
