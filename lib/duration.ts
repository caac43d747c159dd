/** Durations as they are written in cluster.yaml and on the command line. Pure. */

const [hour, day] = [3_600_000, 86_400_000]
const units = { y: 365 * day, d: day, h: hour, m: 60_000, s: 1000 }

/** Formats milliseconds: "10y", "36h" */
export function formatDuration(milliseconds: number): string {
  const [unit, length] = Object.entries(units).find(([, each]) => milliseconds % each === 0) ?? ['s', units.s]
  return `${Math.round(milliseconds / length)}${unit}`
}

/** Milliseconds of `10y`, `365d`, `87600h`, `2m` or `30s`; a year is 365 days. NaN for anything else. */
export function parseDuration(text: string): number {
  const [, count, unit] = /^(\d{1,9})([ydhms])$/.exec(text) ?? []
  return Number(count) * units[unit as keyof typeof units]
}
