/** What a run makes on a node for a while. The names hold their owner, and the node's boot and uptime. Pure. */

/** The node's boot and uptime. Unlike its clock, they can't be set. */
export interface Uptime {
  /** random(4), boot_id */
  readonly boot: string
  /** proc_uptime(5) */
  readonly seconds: number
}

export interface Leftover {
  readonly name: string
  /** Seconds since its content last changed, by the node's clock. */
  readonly age: number
}

export interface StagingOwner {
  /** In hex: the same for each run that may hold the lock of this auth/ on this machine, since its boot. */
  readonly auth: string
  /** In hex: unique to this run. */
  readonly run: string
}

/** Root's, for all who change the node, whoever they log in as. A folder in it marks the node as drained; that outlasts a reboot. */
export const nodeFolder = '/var/lib/harderway'

/** Seconds: far more than connection.ts allows a run for everything that it does on a node. */
export const longestUse = 900

/** The beginning of the names of all that this run makes. */
export function namesOf({ auth, run }: StagingOwner): string {
  return `.harderway-${auth}-${run}-`
}

export function stagingName(owner: StagingOwner, uptime: Uptime | undefined, random: string): string {
  const since = uptime ? `${uptime.boot.slice(0, 8)}-${uptime.seconds}-` : ''
  return `${namesOf(owner)}${since}${random}`
}

const named = /^\.harderway-([0-9a-f]{12})-([0-9a-f]{8})(?:-([0-9a-f]{8})-(\d{1,12}))?-[0-9a-f]{16}/

/**
 * `left`: no run can be using it, if none uses one for more than `longest` seconds. A run holds the lock of its auth/ and one
 * connection to the node; neither survives a reboot, nor the restart of a container that counts uptime from its own start.
 */
export function checkStaging(
  { name, age }: Leftover,
  owner: StagingOwner,
  now: Uptime | undefined,
  longest = longestUse,
): 'of this run' | 'left' | 'may be in use' {
  const [, auth, run, boot, since] = named.exec(name) ?? []
  if (run === owner.run) return 'of this run'
  if (auth === owner.auth) return 'left'
  const isKnown = now !== undefined && boot !== undefined
  const used = isKnown ? now.seconds - Number(since) : age
  // A time in the future: a clock was set, or the uptime restarted.
  const isOver = (isKnown && !now.boot.startsWith(boot)) || used > longest || used < (isKnown ? 0 : -longestUse)
  return isOver ? 'left' : 'may be in use'
}
