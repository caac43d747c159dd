/** More looks at units that end again and again than the tests on machines have time for: `npm run test:long`. */
import { startMachines } from '../lab/machines/machines.ts'
import { running, sweepLives } from '../support/running.ts'

const looks = Number(process.argv[2] ?? 200)
await using lab = await startMachines()
lab.write(...running())
const { status, stdout, stderr } = await lab.run('bootstrap')
if (status !== 0) throw new Error(stdout + stderr)
const wrong = await sweepLives(lab, { looks, restartsAfter: 5, random: Math.random })
process.stdout.write([`${looks} looks at each of the units that end again and again`, ...wrong, ''].join('\n'))
process.exitCode = wrong.length === 0 ? 0 : 1
