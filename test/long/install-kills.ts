/** More kills of `install` than `npm test` has time for: `npm run test:long`. */
import { sweepInstall } from '../support/install-sweep.ts'

const { failures, kills, events } = await sweepInstall(60)
process.stdout.write([`${kills} kills of an install, at ${events} events`, ...failures, ''].join('\n'))
process.exitCode = failures.length === 0 ? 0 : 1
