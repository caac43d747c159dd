/** The folder that a run copies to on a node: its name tells whose it is, and when in the node's life it was made. Pure. */

/** How far a node's kernel has come: unlike its clock it is never set. */
export interface Uptime {
  /** random(4), boot_id */
  readonly boot: string
  /** proc_uptime(5) */
  readonly seconds: number
}

export interface Leftover {
  readonly name: string
  /** Seconds since something was made in it, by the node's clock. */
  readonly age: number
}

export interface StagingOwner {
  /** In hex: the same for each run that may hold the lock of this auth/. */
  readonly auth: string
  /** In hex: of this run alone. */
  readonly run: string
}

/** Seconds: far more than connection.ts gives a run for all that it does on a node. */
export const longestUse = 900

export function stagingName({ auth, run }: StagingOwner, uptime: Uptime | undefined, random: string): string {
  const since = uptime ? `-${uptime.boot.slice(0, 8)}-${uptime.seconds}` : ''
  return `.harderway-${auth}-${run}${since}-${random}`
}

const named = /^\.harderway-([0-9a-f]{12})-([0-9a-f]{8})(?:-([0-9a-f]{8})-(\d{1,12}))?-[0-9a-f]{16}/

/**
 * `left`: no run can be using it. A run holds the lock of its auth/ and one connection to the node; neither outlives a
 * boot, nor a container that counts from its own start.
 */
export function judgeStaging(
  { name, age }: Leftover,
  owner: StagingOwner,
  now: Uptime | undefined,
): 'of this run' | 'left' | 'may be in use' {
  const [, auth, run, boot, since] = named.exec(name) ?? []
  if (run === owner.run) return 'of this run'
  if (auth === owner.auth) return 'left'
  const isKnown = now !== undefined && boot !== undefined
  const used = isKnown ? now.seconds - Number(since) : age
  // A time to come: a clock was set, or counts anew.
  const isOver = (isKnown && !now.boot.startsWith(boot)) || used > longestUse || used < (isKnown ? 0 : -longestUse)
  return isOver ? 'left' : 'may be in use'
}
