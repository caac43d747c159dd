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
  replace: 'replaced',
  renew: 'renewed',
  reload: 'reloaded',
  undrain: 'undrained',
  verify: 'verified',
  rewrite: 'rewritten',
  chmod: 'repaired',
}

export type Verb = keyof typeof past

export interface Diff {
  readonly what: string
  readonly verb?: Verb
  readonly names?: readonly string[]
}

export interface Check<Findings = unknown> {
  readonly diffs: readonly Diff[]
  readonly until?: Date | undefined
  /** What there is: "renews from 2027-11-02". */
  readonly note?: string | undefined
  /** Left to the user: the command ends with 4. Commands stand on lines of their own. */
  readonly todo?: readonly string[]
  readonly warn?: readonly string[]
  /** There is nothing to make: it stays fresh, forced or not. */
  readonly hasNothing?: boolean
  readonly findings?: Findings
}

export function texts(...all: readonly (string | false | undefined)[]): string[] {
  return all.filter((each) => typeof each === 'string' && each !== '') as string[]
}

export function missing(names: readonly string[]): Diff[] {
  return names.length === 0 ? [] : [{ what: `${formatNames(names)} missing`, verb: 'make', names }]
}

export function formatDiffs(diffs: readonly Diff[]): string {
  return joinClauses(...diffs.map(({ what }) => what))
}

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

export function pastOf(diffs: readonly Diff[]): string {
  const verb = (Object.keys(past) as Verb[]).find((each) => hasVerb(diffs, each))
  return verb ? past[verb] : 'done'
}
