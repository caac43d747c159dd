import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** How a relay treats what passes through it. An empty one is a plain wire. */
export interface RelayBehaviour {
  /** Milliseconds added in each direction: half of the round trip. */
  readonly delayMs?: number
  /** A connection is cut when this many bytes, both directions together, have passed. */
  readonly dropAfterBytes?: number
  /** Connections are accepted, and kept open, but nothing passes any more. */
  readonly hang?: boolean
}

export interface RelayOptions extends RelayBehaviour {
  /** Else 127.0.0.1. */
  readonly targetHost?: string
  readonly targetPort: number
}

export interface Relay {
  readonly port: number
  /** What clients have sent so far, in bytes; and how often they did so after they had heard from the server. */
  readonly sent: { readonly bytes: number; readonly turns: number }
  /** Replaces the behaviour, for connections already open too. */
  behave(next: RelayBehaviour): void
  /** Cuts what is open and stops listening. */
  close(): Promise<void>
}

/** A TCP relay on a free port of 127.0.0.1. It holds what it delays in memory, however much that is. */
export async function startRelay({ targetHost = '127.0.0.1', targetPort, ...first }: RelayOptions): Promise<Relay> {
  let behaviour: RelayBehaviour = first
  const sent = { bytes: 0, turns: 0 }
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    track(near, open)
    if (behaviour.hang) absorb(near)
    else join(near, { host: targetHost, port: targetPort }, open, () => behaviour)
    count(near, sent)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // As its node: it keeps no process alive.
  server.unref()
  return {
    port: (server.address() as AddressInfo).port,
    get sent() {
      return { ...sent }
    },
    behave(next) {
      behaviour = next
    },
    close: () => closeServer(server, open),
  }
}

function track(socket: Socket, open: Set<Socket>): void {
  open.add(socket)
  socket.on('close', () => open.delete(socket))
  // A reset is what the other end sees as a close: nobody here wants to hear of it.
  socket.on('error', () => {})
}

/** A connection begins with a turn of the client. */
function count(near: Socket, sent: { bytes: number; turns: number }): void {
  let heard = 0
  near.on('data', (chunk: Buffer) => {
    sent.bytes += chunk.length
    if (near.bytesWritten > heard || sent.turns === 0) sent.turns += 1
    heard = near.bytesWritten
  })
}

function absorb(near: Socket): void {
  near.resume()
  near.on('end', () => near.end())
}

function join(
  near: Socket,
  target: { host: string; port: number },
  open: Set<Socket>,
  behaviour: () => RelayBehaviour,
): void {
  const far = connect({ ...target, allowHalfOpen: true, noDelay: true })
  track(far, open)
  // One that came to its end may leave delayed chunks for the other, and an end behind them.
  near.on('close', () => isComplete(near) || far.destroy())
  far.on('close', () => isComplete(far) || near.destroy())
  let passed = 0
  const deliver = (to: Socket, chunk: Buffer | undefined): void => {
    const { hang, dropAfterBytes = Number.POSITIVE_INFINITY } = behaviour()
    if (hang || to.destroyed) return
    if (chunk === undefined) {
      to.end()
      return
    }
    const left = dropAfterBytes - passed
    passed += chunk.length
    to.write(chunk.subarray(0, left))
    if (chunk.length >= left) near.destroy()
  }
  const delay = () => behaviour().delayMs ?? 0
  forward(near, delay, (chunk) => deliver(far, chunk))
  forward(far, delay, (chunk) => deliver(near, chunk))
}

function isComplete(socket: Socket): boolean {
  return socket.readableEnded && socket.writableFinished
}

/** Each chunk has its own timer, so that many are on their way at once; `undefined` stands for the end. */
function forward(from: Socket, delay: () => number, deliver: (chunk: Buffer | undefined) => void): void {
  // A timer delivers the oldest chunk, not its own: a delay that changes cannot reorder them.
  const queue: (Buffer | undefined)[] = []
  const send = (chunk: Buffer | undefined): void => {
    if (queue.length === 0 && delay() === 0) {
      deliver(chunk)
      return
    }
    queue.push(chunk)
    setTimeout(() => deliver(queue.shift()), delay())
  }
  from.on('data', (chunk: Buffer) => send(chunk))
  from.on('end', () => send(undefined))
}

async function closeServer(server: Server, open: ReadonlySet<Socket>): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  for (const socket of open) socket.destroy()
  await closed
}
