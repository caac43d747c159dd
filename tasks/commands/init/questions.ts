/** What could not be found, asked of whoever is at the terminal. */
import { addressBytes, canonicalAddress } from '../../../lib/address.ts'
import type { Draft } from './draft.ts'

/** Nothing is asked twice: an empty answer leaves it to be written into the file. */
export async function askForBlanks(draft: Draft, signal: AbortSignal): Promise<Draft> {
  const virtualIP = draft.api.virtualIP ?? (await ask('Address of the API, where the load balancer is', signal))
  const nodes = []
  for (const node of draft.nodes) {
    const address = node.ips.length > 0 ? undefined : await ask(`Address of ${node.name}`, signal)
    nodes.push(address === undefined ? node : { ...node, ips: [address] })
  }
  return { ...draft, api: { ...draft.api, virtualIP }, nodes }
}

async function ask(what: string, signal: AbortSignal): Promise<string | undefined> {
  const { default: input } = await import('@inquirer/input')
  const validate = (text: string) =>
    text.trim() === '' || addressBytes(text.trim()) !== undefined || 'not an IP address, such as 192.168.1.11'
  try {
    const answer = await input({ message: `${what} (empty: later):`, validate }, { signal })
    return answer.trim() === '' ? undefined : canonicalAddress(answer.trim())
  } catch (error) {
    // It reads the keyboard itself, so that Ctrl-C comes as a key, and no signal is sent.
    if (error instanceof Error && error.name === 'ExitPromptError') process.emit('SIGINT', 'SIGINT')
    throw error
  }
}
