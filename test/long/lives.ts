/**
 * Units that end again and again, one life after the other, and looks at them at random moments: `npm run test:long`.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { startMachines } from '../lab/machines/machines.ts'
import { idsOf, messageOf } from '../support/harderway.ts'
import { live, mustRun, running, untilRestarted } from '../support/running.ts'

/** Seconds that a process lives. */
const lives = [0, 0.05, 1, 4, 15]
/** Seconds between two looks, at most. */
const longest = 16
const looks = Number(process.argv[2] ?? 200)

await using lab = await startMachines()
lab.write(...running())
await mustRun(lab, 0, 'bootstrap')
// Each life on a machine of its own.
const machines = lab.all.filter(({ role }) => role !== 'gateway')
if (machines.length !== lives.length) throw new Error(`${machines.length} machines for ${lives.length} lives`)
const living = machines.map((machine, i) => ({ machine, life: lives[i] ?? 0 }))
await Promise.all(living.map(({ machine, life }) => live(machine, life, 5)))
for (const { machine } of living) await untilRestarted(machine)
/** What looks that found one of them up to date said. */
const wrong: string[] = []
for (let look = 0; look < looks; look++) {
  await delay(Math.random() * 1000 * longest)
  const ran = await lab.run('install', '--dry-run', '--json')
  const stale = idsOf(ran, 'stale')
  for (const { machine, life } of living)
    if (!stale.includes(`install/${machine.name}`))
      wrong.push(`${life} s, look ${look}: ${ran.status} ${messageOf(ran, `install/${machine.name}`)}`)
}
process.stdout.write([`${looks} looks at each of the units that end again and again`, ...wrong, ''].join('\n'))
process.exitCode = wrong.length === 0 ? 0 : 1
