/** More looks at units that end again and again than the tests on machines have time for: `npm run test:long`. */
import { startMachines } from '../lab/machines/machines.ts'
import { sweepLives } from '../support/lives.ts'
import { running } from '../support/running.ts'

await using lab = await startMachines('control0')
lab.write(...running({ drain: '', undrain: '' }))
const { status, stdout, stderr } = await lab.run('bootstrap')
if (status !== 0) throw new Error(stdout + stderr)
const { fresh, looks } = await sweepLives(lab, { looks: 200, restartsAfter: 5, random: Math.random })
process.stdout.write([`${looks} looks at units that end again and again`, ...fresh, ''].join('\n'))
process.exitCode = fresh.length === 0 ? 0 : 1
