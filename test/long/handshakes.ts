/**
 * Connects to a port of this machine again and again until its input ends; then prints how many handshakes there were,
 * and what failed.
 */
import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'

const [, , port, ca = ''] = process.argv

export function shakeHands(port: number, ca: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect({ host: '127.0.0.1', port, ca }, () => {
    socket.destroy()
    resolve()
  })
  socket.on('error', reject)
  return promise
}

if (import.meta.main) {
  let isOver = false
  process.stdin.on('end', () => {
    isOver = true
  })
  process.stdin.resume()
  const trusted = readFileSync(ca)
  const failed: string[] = []
  let count = 0
  for (; !isOver; count++) await shakeHands(Number(port), trusted).catch((error) => failed.push(`${error.code}`))
  process.stdout.write(`${failed.length} of ${count} handshakes failed ${[...new Set(failed)].join(', ')}\n`)
}
