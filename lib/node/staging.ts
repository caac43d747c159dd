/** What a run makes on a node for a while. The names hold their owner. Pure. */

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

/** Root's. A folder in it marks the node as drained, and outlasts a reboot; replace locks it. node.sh names the same. */
export const marksFolder = '/var/lib/harderway'

/** Seconds: far more than connection.ts allows a run for everything that it does on a node. */
export const longestUse = 900

/** The beginning of the names of all that this run makes. */
export function namesOf({ auth, run }: StagingOwner): string {
  return `.harderway-${auth}-${run}-`
}

/**
 * `left`: no run can be using it, if none uses one for more than `longest` seconds: of this auth/, whose lock we hold, or old. An age
 * in the future is of a clock that was set.
 */
export function checkStaging(
  { name, age }: Leftover,
  owner: StagingOwner,
  longest = longestUse,
): 'of this run' | 'left' | 'may be in use' {
  if (name.startsWith(namesOf(owner))) return 'of this run'
  const isOfAuth = name.startsWith(`.harderway-${owner.auth}-`)
  return isOfAuth || Math.abs(age) > longest ? 'left' : 'may be in use'
}
