/** What the check of a target finds and its build does, worded where it is found: every view prints these words. */
import { formatNames, joinClauses } from './wording.ts'

/** What a run does about a difference, and how that reads afterwards: the first that is done names the row. */
const past = {
  restart: 'restarted',
  update: 'deployed',
  copy: 'deployed',
  install: 'installed',
  remove: 'removed',
  change: 'changed',
  make: 'new',
  /** With another key. */
  replace: 'replaced',
  /** The same again, until later. */
  renew: 'renewed',
  reload: 'reloaded',
  undrain: 'undrained',
  verify: 'verified',
  rewrite: 'rewritten',
  chmod: 'repaired',
}

export type Verb = keyof typeof past

/** One way in which what is there is not what is desired. */
export interface Diff {
  /** A clause: "adds SAN 192.168.1.22". */
  readonly what: string
  /** What a run does about it. */
  readonly verb?: Verb
  /** To which files, paths on a node or units. */
  readonly names?: readonly string[]
}

/** The result of a check, with what it hands on to the build. */
export interface Check<Found = unknown> {
  /** Empty: it is fresh. */
  readonly diffs: readonly Diff[]
  /** When a certificate expires. */
  readonly until?: Date | undefined
  /** What there is: "renews from 2027-11-02". */
  readonly note?: string | undefined
  /** Left to the user: the command ends with 4. Commands stand on lines of their own. */
  readonly todo?: readonly string[]
  /** Nobody has to act on these. */
  readonly warn?: readonly string[]
  /** There is nothing to make: it stays fresh, forced or not. */
  readonly hasNothing?: boolean
  readonly found?: Found
}

/** Those that there are. */
export function texts(...all: readonly (string | false | undefined)[]): string[] {
  return all.filter((each) => typeof each === 'string' && each !== '') as string[]
}

/** Of files of auth/ that are not there. */
export function missing(names: readonly string[]): Diff[] {
  return names.length === 0 ? [] : [{ what: `${formatNames(names)} missing`, verb: 'make', names }]
}

export function formatDiffs(diffs: readonly Diff[]): string {
  return joinClauses(...diffs.map(({ what }) => what))
}

/** The names of what is done by these verbs, each once. */
export function namesOf(diffs: readonly Diff[], ...verbs: readonly Verb[]): string[] {
  return [...new Set(diffs.flatMap(({ verb, names = [] }) => (verb && verbs.includes(verb) ? names : [])))]
}

export function hasVerb(diffs: readonly Diff[], ...verbs: readonly Verb[]): boolean {
  return diffs.some(({ verb }) => verb && verbs.includes(verb))
}

/** Only modes are wrong, or nothing is: a repair leaves dependent targets fresh. */
export function isRepair(diffs: readonly Diff[]): boolean {
  return diffs.every(({ verb }) => verb === 'chmod')
}

/** How a row whose build has ended reads, in a word. */
export function pastOf(diffs: readonly Diff[]): string {
  const verb = (Object.keys(past) as Verb[]).find((each) => hasVerb(diffs, each))
  return verb ? past[verb] : 'done'
}
