/** More kills of rotations than `npm test` has time for: `npm run test:long`. */
import { sweepRotations } from '../support/rotation-sweep.ts'

const { failures, kills } = await sweepRotations([90, 50, 10].map((offset) => ({ every: 110, offset })))
process.stdout.write([`${kills} kills of rotations`, ...failures, ''].join('\n'))
process.exitCode = failures.length === 0 && kills >= 60 ? 0 : 1
