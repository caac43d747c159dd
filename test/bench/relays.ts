/** `node relays.ts DELAY ADDRESS…`: a relay to port 22 of each, until the input ends; prints their ports. */
import { startRelay } from '../lab/relay.ts'

const [, , delay, ...addresses] = process.argv
const relays = await Promise.all(
  addresses.map((targetHost) => startRelay({ targetHost, targetPort: 22, delayMs: Number(delay) })),
)
process.stdout.write(JSON.stringify(relays.map(({ port }) => port)))
process.stdin.resume().on('end', () => process.exit())
