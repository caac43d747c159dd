/** Loaded by --import: leaves what the process used, its threads with it, in the file that BENCH_USAGE names. */
import { writeFileSync } from 'node:fs'

process.on('exit', () => {
  const { BENCH_USAGE } = process.env
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
  const usage = { cpu: (userCPUTime + systemCPUTime) / 1e6, mebibytes: maxRSS / 1024 }
  if (BENCH_USAGE) writeFileSync(BENCH_USAGE, JSON.stringify(usage))
})
