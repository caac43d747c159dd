/**
 * The command line for runs on machines: a unit that was restarted has to stay healthy for 1 s in place of 10 before
 * the next node's turn. The stand-in reads what its kubeconfig names every 5 s in place of 300, and makes a request as
 * often. bring-up.test.ts does without it.
 */
import { main } from '../../tasks/cli.ts'
import { processHost } from '../../tasks/run/host.ts'

const waits = { healthy: 1, polled: 7, counted: 20 }
process.exitCode = await main(process.argv.slice(2), { ...processHost, waits })
