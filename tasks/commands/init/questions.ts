/** What could not be found, asked of whoever is at the terminal. */
import { addressBytes, canonicalAddress } from '../../../lib/address.ts'
import { type Draft, withOwnVirtualIP } from './draft.ts'

/** An empty answer leaves it to be written into the file. */
export async function askForBlanks(draft: Draft, signal: AbortSignal): Promise<Draft> {
  const nodes = []
  const taken = new Map(draft.nodes.flatMap(({ name, ips }) => ips.map((address): [string, string] => [address, name])))
  for (const node of draft.nodes) {
    const address = node.ips.length > 0 ? undefined : await ask(`Address of ${node.name}`, signal, taken)
    if (address !== undefined) taken.set(address, node.name)
    nodes.push(address === undefined ? node : { ...node, ips: [address] })
  }
  const { api } = withOwnVirtualIP({ ...draft, nodes })
  const virtualIP = api.virtualIP ?? (await ask('Address of the API, where the load balancer is', signal))
  return { ...draft, api: { ...api, virtualIP }, nodes }
}

/** `taken`: by whom an address is had already. */
async function ask(
  what: string,
  signal: AbortSignal,
  taken: ReadonlyMap<string, string> = new Map(),
): Promise<string | undefined> {
  const { default: input } = await import('@inquirer/input')
  const validate = (text: string) => {
    const typed = text.trim()
    if (typed === '') return true
    if (addressBytes(typed) === undefined) return 'not an IP address, such as 192.168.1.11'
    const owner = taken.get(canonicalAddress(typed))
    return owner === undefined || `${owner} has that address`
  }
  // Ctrl-D closes the line without an answer, and nothing is left that this process would wait for.
  const closed = new AbortController()
  const close = () => closed.abort()
  process.once('beforeExit', close)
  try {
    const context = { signal: AbortSignal.any([signal, closed.signal]) }
    const answer = await input({ message: `${what} (empty: later):`, validate }, context)
    return answer.trim() === '' ? undefined : canonicalAddress(answer.trim())
  } catch (error) {
    if (closed.signal.aborted) return undefined
    // It reads the keyboard itself, so that Ctrl-C comes as a key, and no signal is sent.
    if (error instanceof Error && error.name === 'ExitPromptError') process.emit('SIGINT', 'SIGINT')
    throw error
  } finally {
    process.off('beforeExit', close)
  }
}
