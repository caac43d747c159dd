/** What a component on a node serves, queried through the node's own ssh connection: it works wherever ssh does. */
import type { Reply, Server } from './client.ts'

/** Bytes and milliseconds for one answer: what is queried here answers with a word or two. */
const limits = { longestBody: 64 * 1024, patience: 10_000 }

/** Loads what a probe needs while the run waits for something else. Most runs probe nothing, and don't load it. */
export function prepareProbe(): void {
  void import('./client.ts')
}

/** DER of the first certificate that the server presents, whoever signed it. Throws a Failure if there is none. */
export async function readServed(server: Omit<Server, 'trust'>): Promise<Buffer> {
  const { dial, notAnswered } = await import('./client.ts')
  try {
    const socket = await dial({ ...server, trust: 'anyone' }, limits.patience)
    const { raw } = socket.getPeerCertificate()
    socket.destroy()
    return raw
  } catch (error) {
    throw notAnswered(error as Error)
  }
}

/** A whole request: with TLS 1.3 a handshake alone proves the server, not that it takes our certificate. */
export async function ask(question: Server & { readonly path: string }): Promise<Reply> {
  const { Client } = await import('./client.ts')
  const client = new Client(question, limits)
  try {
    return await client.ask('GET', question.path)
  } finally {
    client.close()
  }
}
