/** Loaded by --import: leaves what memory the process used, in the file that BENCH_USAGE names. */
import { writeFileSync } from 'node:fs'

process.on('exit', () => {
  const { BENCH_USAGE } = process.env
  const usage = { mebibytes: process.resourceUsage().maxRSS / 1024 }
  if (BENCH_USAGE) writeFileSync(BENCH_USAGE, JSON.stringify(usage))
})
