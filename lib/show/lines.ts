/** A run in plain lines, for logs, pipes, CI and --quiet; and with --json, one JSON object a line. */
import { type Failure, stackOf } from '../failure.ts'
import { clausesIn, leftIn, type Outcome, type Target } from '../graph/target.ts'
import { formatFinding, formatReasons, isRepair } from '../reason.ts'
import { beside, octal, printable } from '../wording.ts'
import type { Phases, Reporter } from './reporter.ts'
import {
  areChecks,
  countOutcomes,
  formatClosing,
  formatFailure,
  formatFailures,
  formatOutcome,
  formatSummary,
  formatToDo,
  ofKind,
  summariseGroup,
  warningOf,
  warningsOf,
} from './words.ts'

/** After so many lines, targets that succeeded are counted by phase. */
const mostLines = 60

/** What the views in lines are made with. */
export interface LinesOptions {
  readonly phases: Phases
  readonly verbose: boolean
  readonly quiet: boolean
  /** Of a terminal, which would break the lines of a plan inside words. */
  readonly columns?: number | undefined
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

/** A line for each target that changed or failed; fresh targets are counted by phase. A wrong clock stops all of them, and has one line. */
export function createLines({ phases, verbose, quiet, write, writeError }: LinesOptions): Reporter {
  const places = new Map(
    [...phases].flatMap(([title, targets]) => {
      /** `left`: targets without an outcome. */
      const phase = { title, targets, left: targets.length, counted: [] as Outcome[] }
      return targets.map((target) => [target.id, { target, phase }] as const)
    }),
  )
  const say = (text: string) => {
    if (!quiet) write(printable(text))
  }
  let room = mostLines
  const failures = new Set<string>()
  /** Targets that a wrong clock stopped, or whose failure has a line already; and those that come after these alone. */
  const repeated = new Set<string>()
  const isRepeated = (outcome: Outcome) => {
    if (outcome.kind === 'failed') return outcome.failure.shared !== undefined && failures.has(outcome.failure.message)
    return outcome.kind === 'cancelled' && outcome.because.length > 0 && outcome.because.every((id) => repeated.has(id))
  }
  const hasLine = ({ build }: Target, { kind }: Outcome) =>
    verbose || kind === 'failed' || ((kind !== 'fresh' || !build) && room-- > 0)
  return {
    event: (event) => {
      const { target, phase } = places.get(event.id) ?? {}
      if (event.type !== 'ended' || !target || !phase) return
      const { id, outcome } = event
      const isRepeat = !verbose && isRepeated(outcome)
      if (isRepeat || (outcome.kind === 'failed' && outcome.failure.code === 'clock')) repeated.add(id)
      if (!isRepeat && hasLine(target, outcome)) say(formatEnd(id, outcome))
      else if (!isRepeat) phase.counted.push(outcome)
      if (outcome.kind === 'failed') failures.add(outcome.failure.message)
      const warning = warningOf(outcome)
      if (warning) say(`warning ${id}: ${warning}`)
      phase.left--
      if (phase.left === 0 && phase.counted.length > 0)
        say(`${phase.title}: ${summariseGroup(phase.counted, areChecks(phase.targets))}`)
    },
    note: say,
    problem: (failure, id) => writeError(formatFailure(failure, id, verbose)),
    end: async (summary) => {
      const { outcomes } = summary
      if (quiet) {
        // Targets that were checked and are stale.
        for (const entry of ofKind(outcomes, 'stale')) write(printable(formatEnd(...entry)))
        for (const each of warningsOf(outcomes)) write(printable(`warning ${each}`))
      }
      for (const text of formatFailures(outcomes, verbose)) write(text)
      for (const line of quiet ? formatToDo(summary) : formatClosing(summary)) write(line)
      if (outcomes.size > 0) say(formatSummary(summary, [...phases.values()].every(areChecks)))
    },
  }
}

function formatEnd(id: string, outcome: Outcome): string {
  const how = outcome.kind === 'failed' ? `${outcome.failure.kind === 'refused' ? 'refused' : 'failed'}: ` : ''
  return `${id}: ${how}${beside(id, formatOutcome(outcome))}`
}

/** Increased by a change that breaks programs that read the lines: docs/json.md. */
const format = 1

/** Escapes characters that JSON allows unescaped and that a terminal or a line reader would interpret. */
export function formatJsonLine(value: object): string {
  const escapeChar = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify({ ...value, format }, plainValue).replace(
    // And what begins a command of GitHub's runner: see withoutCommands.
    /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|#(?=#\[)/g,
    escapeChar,
  )
}

/** Times as jq's fromdate reads them, RFC 3339 in whole seconds; modes as they are typed: "0600". */
function plainValue(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  if (this[key] instanceof Date) return String(value).replace(/\.\d+Z$/, 'Z')
  return this.kind === 'wrong-mode' && typeof value === 'number' ? octal(value) : value
}

export function createJsonLines(write: (line: string) => void): Reporter {
  const say = (value: object) => write(formatJsonLine(value))
  return {
    event: (event) => say(event.type === 'ended' ? plainTarget(event.id, event.outcome) : event),
    note: (message) => say({ type: 'note', message }),
    problem: (failure, id) => {
      const type = failure.kind === 'usage' ? 'error' : failure.kind
      for (const { file, line, column, message, remedy } of failure.mistakes)
        say({ type, file, line, column, message, remedy })
      if (failure.mistakes.length === 0) say({ type, id, ...plainFailure(failure) })
    },
    end: async ({ outcomes, seconds, exit, advice = [], nextToExpire, caEnds, goOn, ...rest }) => {
      const counts = { ...countOutcomes(outcomes), seconds: Math.round(seconds * 1000) / 1000, exit }
      const toDo = rest.toDo?.map(formatFinding)
      say({ type: 'summary', ...counts, advice: [...advice, ...(caEnds ? [caEnds] : [])], toDo, nextToExpire, goOn })
    },
  }
}

/** Of a target all that is sent, whatever else a check finds. The outcome's kind is the type: fresh, built, stale, failed, cancelled. */
function plainTarget(id: string, outcome: Outcome): object {
  const named = { type: outcome.kind, id }
  const message = formatCause(outcome)
  if (outcome.kind === 'failed')
    return { ...named, refused: outcome.failure.kind === 'refused', ...plainFailure(outcome.failure) }
  if (outcome.kind === 'cancelled') return { ...named, because: outcome.because, isBegun: outcome.isBegun, message }
  const { reasons, until, renewsFrom, note, findings = [], units, revokedInForce } = outcome
  const isBuilt = outcome.kind === 'built'
  const change = 'change' in outcome ? outcome.change : undefined
  const isUnfinished = findings.some(({ left, owner }) => !left && owner === 'user') || undefined
  const unreached = isBuilt ? undefined : unlessEmpty(clausesIn(outcome, 'unreached'))
  const left = unlessEmpty(leftIn(outcome))
  const found = { note, warning: warningOf(outcome) || undefined, isUnfinished, units, unreached, revokedInForce, left }
  return { ...named, reasons, until, renewsFrom, change, ...found, message }
}

const unlessEmpty = (list: readonly unknown[]) => (list.length > 0 ? list : undefined)

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}

/** Why it was made, or would be: "made: SAN added: 192.168.1.22"; any other outcome as it is. */
function formatCause(outcome: Outcome): string {
  if (outcome.kind !== 'built') return formatOutcome(outcome)
  return `${isRepair(outcome.reasons) ? 'repaired' : 'made'}: ${formatReasons(outcome.reasons)}`
}
