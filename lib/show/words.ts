/** Events, outcomes, failures and the end of a run in words, for the tree, lines, --json, the plan and `status`. Pure. */

import { styleText } from 'node:util'
import { type Failure, stackOf } from '../failure.ts'
import { type Event, findingsIn, leftIn, type Outcome, type Target } from '../graph/target.ts'
import {
  type CertificateFacts,
  formatFinding,
  formatReasons,
  isRepair,
  ownReasons,
  type Reason,
  worksOf,
} from '../reason.ts'
import {
  beside,
  capital,
  count,
  foldAlike,
  formatDate,
  formatLeftInWords,
  formatNames,
  groupAlike,
  joinClauses,
  printable,
} from '../wording.ts'
import type { Summary } from './reporter.ts'

/** Only for files that were replaced, and only if no later target (install) takes them further. */
export function adviseAfter(
  targets: readonly Target[],
  outcomes: ReadonlyMap<string, Outcome>,
): NonNullable<Summary['advice']> {
  const restartsFor = yoursToRestart(targets)
  const replaced = targets.flatMap((target) => {
    const outcome = outcomes.get(target.id)
    if (outcome?.kind !== 'built') return []
    const { files, restart } = restartsFor(target, outcome.reasons)
    return files.length > 0 ? [{ node: target.node ?? '', files, restart }] : []
  })
  const textOf = ({ files, restart }: (typeof replaced)[number]) => [...files, ...restart].join(' ')
  return foldAlike(replaced, ({ node }) => node, textOf).map(({ group, shared }) => ({
    nodes: group.map(({ node }) => node),
    files: group[0].files.map(shared),
    restart: group[0].restart,
  }))
}

/**
 * The files of a node that are replaced by others, and the units that read those only at their start; none if a later
 * target (install) restarts them.
 */
export function yoursToRestart(targets: readonly Target[]) {
  const restarts = new Map(
    targets.flatMap(({ makes, restarts = [] }) => makes.map((file): [string, readonly string[]] => [file, restarts])),
  )
  const takenOn = new Set(targets.flatMap(({ needs }) => needs))
  return ({ id, where, units, isOfWhole }: Target, reasons: readonly Reason[]) => {
    const isLast = where === 'node' && !isOfWhole && !takenOn.has(id)
    const files = reasons.flatMap((reason) => (isLast && reason.kind === 'on-node' ? reason.differ : []))
    const all = new Set(files.flatMap((file) => restarts.get(file) ?? []))
    return { files, restart: [...all].filter((unit) => units?.includes(unit) ?? true) }
  }
}

/** What is being done with a target: "copying 14 files"; at its end, its outcome. */
export function formatEvent(event: Event): string {
  if (event.type === 'step') return formatStep(event.step)
  return event.type === 'ended'
    ? formatOutcome(event.outcome)
    : { started: 'checking', queued: 'waiting', building: 'making' }[event.type]
}

function formatStep(step: (Event & { type: 'step' })['step']): string {
  if ('files' in step) return `${step.doing} ${count(step.files, 'file')}`
  if (step.doing === 'watching') return `watching that it stays healthy: ${step.seconds} s`
  if ('seconds' in step)
    return `${step.unit} reads its files again within ${Math.floor(step.seconds / 60)} min ${step.seconds % 60} s`
  if ('path' in step) return `waiting for ${step.path} of ${step.unit}`
  if ('of' in step) return `${step.doing} ${step.done} of ${step.of}`
  const { doing, ...what } = step
  return [doing, ...Object.values(what)].join(' ')
}

export function formatOutcome(outcome: Outcome): string {
  return describe(outcome).text
}

/** The outcome in one word, to count targets by; and what there is now, or why it is not so: "new, expires 2036-11-21". */
function describe(outcome: Outcome): { readonly label: string; readonly text: string } {
  switch (outcome.kind) {
    case 'fresh': {
      const { note, until, renewsFrom } = outcome
      const withCa = until && `expires ${formatDate(until)} (with the CA)`
      const date = renewsFrom ? `renews from ${formatDate(renewsFrom)}` : withCa
      return { label: 'fresh', text: note ?? date ?? 'fresh' }
    }
    case 'built':
      return describeBuilt(outcome)
    case 'stale':
      return { label: 'to make', text: `to make: ${formatReasons(outcome.reasons)}` }
    case 'failed':
      return { label: outcome.failure.kind === 'refused' ? 'refused' : 'failed', text: outcome.failure.message }
    case 'cancelled': {
      const why = outcome.because.length > 0 ? `: it comes after ${formatNames(outcome.because)}` : ''
      const text = outcome.isBegun ? 'interrupted: the next run checks how far it came' : `skipped${why}`
      return { label: outcome.isBegun ? 'interrupted' : 'skipped', text }
    }
    default:
      return outcome satisfies never
  }
}

function describeBuilt({ reasons, change }: Outcome & { kind: 'built' }) {
  const own = ownReasons(reasons)
  const why = formatReasons(own)
  const as = (label: string, text = [label, why].filter(Boolean).join(': ')) => ({ label, text })
  switch (change?.kind) {
    case 'made': {
      const { isReplaced, isRestored, isNew, is, was } = change
      const now = is ? `, ${formatExpiry(is, was)}` : ''
      if (isReplaced || isNew) return as(isReplaced ? 'replaced' : 'new', `${isReplaced ? 'replaced' : 'new'}${now}`)
      if (isRestored) return as('restored', `restored${now}`)
      // Only its time was up, or it was requested by name.
      const isRenewal = is && own.every(({ kind }) => kind === 'expires' || kind === 'forced')
      return isRenewal
        ? as('renewed', `renewed${now}`)
        : as('changed', [`changed${now}`, why].filter(Boolean).join(': '))
    }
    case 'deployed':
    case 'installed': {
      const { copy, install, remove, restart } = worksOf(change)
      const installed = install.length > 0 ? [count(install.length, 'file')] : []
      const all = Object.entries({ deployed: copy, installed, removed: remove, restarted: restart })
      const done = all.filter(([, names]) => names.length > 0)
      const [[label] = []] = done
      if (label === undefined) return change.kind === 'deployed' ? as('repaired') : as('installed', why || 'installed')
      const text = done.map(([what, names]) => `${formatNames(names)} ${what}`).join('; ')
      return as(restart.length > 0 ? 'restarted' : label, text)
    }
    case 'proven':
      return change.units.length > 0 ? as('proven', `proven by ${formatNames(change.units)}`) : as('nothing to query')
    case 'rewritten':
      return as('rewritten', `${change.objects} rewritten`)
    case undefined:
      return as(isRepair(reasons) ? 'repaired' : 'done')
    default:
      return change satisfies never
  }
}

/** "expires 2028-10-30 (was 2027-11-25)" */
export function formatExpiry({ expires }: CertificateFacts, was: CertificateFacts | undefined): string {
  const [date, before] = [formatDate(expires, was?.expires), was && formatDate(was.expires, expires)]
  if (before === undefined || before === date) return `expires ${formatDate(expires)}`
  return `expires ${date} (was ${before})`
}

/** "5 new, 1 failed", "12 passed", "3 not installed yet"; of a single one, its outcome. */
export function summariseGroup(outcomes: readonly Outcome[], areChecks = false): string {
  const [only, ...others] = outcomes
  if (only && others.length === 0) return formatOutcome(only)
  const [note, ...more] = new Set(outcomes.map((outcome) => (outcome.kind === 'fresh' ? outcome.note : undefined)))
  if (note !== undefined && more.length === 0) return `${outcomes.length} ${note}`
  const counts = groupAlike(outcomes, (outcome) => describe(outcome).label).map((group) => {
    const { label } = describe(group[0])
    return `${group.length} ${areChecks && label === 'fresh' ? 'passed' : label}`
  })
  return counts.join(', ')
}

/** The message, prefixed with the target's id if there is one, and the remedy below it. With --verbose, a bug's stack trace. */
export function formatFailure(failure: Failure, id?: string, isVerbose = false): string {
  const { message, remedy } = failure
  const lines = remedy?.split('\n').map((line) => `    ${line}`) ?? []
  const stack = isVerbose ? (stackOf(failure) ?? []) : []
  const found = id === undefined ? message : `${id}: ${beside(id, message)}`
  return printable([found, ...lines, ...[stack].flat()].join('\n'))
}

/** All failures at the end of a run, each with its target's id, unless several have one cause. */
export function formatFailures(outcomes: ReadonlyMap<string, Outcome>, isVerbose = false): string[] {
  const failures = ofKind(outcomes, 'failed').map(([id, { failure }]): [string, Failure] => [id, failure])
  return joinFailures(failures).map(([id, failure]) => formatFailure(failure, id, isVerbose))
}

/** Failures with the same cause become one, with one remedy and no target. */
export function joinFailures(failures: readonly [string, Failure][]): [string | undefined, Failure][] {
  return groupAlike(failures, ([id, failure]) => causeOf(failure) ?? id).map((group) => {
    const [first] = group
    if (group.length === 1) return first
    const [, failure] = first
    const places = new Map(group.map(([, { node = '', shared }]) => [shared?.who ?? node, shared?.place]))
    const who = [...places.keys()]
    const remedy = failure.shared?.remedyFor([...places.values()]) ?? failure.remedy
    const what = failure.shared?.what ?? failure.what
    const counted = `${who.length === 1 ? '' : `${who.length} nodes, `}${what}: ${who.join(', ')}`
    return [undefined, failure.with({ what: counted, node: undefined, remedy })]
  })
}

/** The key by which failures are joined; undefined if the failure belongs to no node. */
function causeOf({ shared, node, what, remedy }: Failure): string | undefined {
  return shared?.what ?? (node === undefined ? undefined : `${what}\n${remedy}`)
}

export function warningOf(outcome: Outcome | undefined): string {
  return joinClauses(...findingsIn(outcome).map((each) => !each.isSilent && formatFinding(each)))
}

/** The warnings of all targets, each with its target's id. */
export function warningsOf(outcomes: ReadonlyMap<string, Outcome>): string[] {
  return [...outcomes].flatMap(([id, outcome]) => {
    const warning = warningOf(outcome)
    return warning ? [`${id}: ${warning}`] : []
  })
}

/** "36 targets: 30 made, 6 fresh, 0 failed in 1.9 s", "32 checks: 32 passed, 0 failed in 1.3 s" */
export function formatSummary({ outcomes, seconds }: Summary, areChecks = false): string {
  const { targets, made, fresh, stale, failed, cancelled } = countOutcomes(outcomes)
  const toMake = stale > 0 ? [`${stale} to make`] : []
  const refused = ofKind(outcomes, 'failed').filter(([, { failure }]) => failure.kind === 'refused').length
  const counts = [
    ...(areChecks ? [`${fresh} passed`, ...toMake] : [toMake[0] ?? `${made} made`, `${fresh} fresh`]),
    `${failed - refused} failed`,
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(cancelled > 0 ? [`${cancelled} skipped`] : []),
  ]
  return `${count(targets, areChecks ? 'check' : 'target')}: ${counts.join(', ')} in ${seconds.toFixed(1)} s`
}

/** What changed, what is left to do, what expires next: a row each, its label in a column of its own. */
export function formatClosing(summary: Summary): string[] {
  const { outcomes, nextToExpire, now, goOn } = summary
  // A command that only checks has nothing that expires next.
  const isIdle = nextToExpire && [...outcomes.values()].every(({ kind }) => kind === 'fresh')
  const isLeft = ofKind(outcomes, 'cancelled').length > 0
  const renewed = nextToExpire?.renewsFrom
    ? `; a run from ${formatDate(nextToExpire.renewsFrom, now)} on renews it`
    : ''
  const last = [
    nextToExpire && `Next       ${nextToExpire.name} expires on ${formatDate(nextToExpire.expires, now)}${renewed}`,
    goOn && isLeft && `Stopped    early: no file is left half written; continue with: ${goOn}`,
  ]
  return [
    ...formatChanged(outcomes),
    ...(isIdle && outcomes.size > 0
      ? [`Changed    nothing${leftOnNodes(outcomes).length > 0 ? '' : ': everything matches cluster.yaml'}`]
      : []),
    ...formatToDo(summary),
    ...last.flatMap((text) => (text && outcomes.size > 0 ? [printable(text)] : [])),
  ]
}

/** "New        ca.pem", "Restarted  etcd, kubelet on control0, control1", "Removed    3 files on worker2" */
function formatChanged(outcomes: ReadonlyMap<string, Outcome>): string[] {
  const changed = ofKind(outcomes, 'built').map(([id, outcome]) => {
    const { make, replace, remove, restart } = worksOf(outcome.change)
    const [name = id.slice(id.indexOf('/') + 1)] = [...make, ...replace]
    const { label } = describe(outcome)
    const what = label === 'removed' ? [count(remove.length, 'file')] : restart
    const of = what.length > 0 ? `${what.join(', ')} on ` : ''
    return { name, start: `${capital(label).padEnd(10)} ${of}` }
  })
  return groupAlike(changed, ({ start }) => start).map((group) =>
    printable(group[0].start + formatNames([...new Set(group.map(({ name }) => name))])),
  )
}

/** What is left to the user, in bold: it must not be missed. */
export function formatToDo({
  advice = [],
  toDo = [],
  caEnds,
  now,
}: Pick<Summary, 'advice' | 'toDo' | 'caEnds' | 'now'>): string[] {
  const ofCa = caEnds && now ? [formatCaEnds(caEnds, now)] : []
  const texts = [...advice.map(formatAdvice), ...toDo.map(formatFinding), ...ofCa]
  return texts.flatMap((text) => `To do      ${printable(text)}`.split('\n').map((line) => styleText('bold', line)))
}

/** "control0, control1: kubernetes.pem replaced: where its units read a copy, copy it again" */
function formatAdvice({ nodes, files, restart }: NonNullable<Summary['advice']>[number]): string {
  const copies = files.length === 1 ? 'it' : 'them'
  const inTurn = nodes.length > 1 ? ', one node at a time' : ''
  const then = restart.length > 0 ? `, then restart ${restart.join(', ')}${inTurn}` : ''
  return `${formatNames(nodes)}: ${formatNames(files)} replaced: copy ${copies} to where the units read ${copies}${then}`
}

/** "The CA expires in 19 days, on 2036-11-23, and every certificate with it: npm run task -- ca --renew, then …" */
export function formatCaEnds({ expires, commands }: NonNullable<Summary['caEnds']>, now: Date): string {
  const left = formatLeftInWords(expires.getTime() - now.getTime())
  return `The CA expires in ${left}, on ${formatDate(expires, now)}, and every certificate with it: ${commands.join(', then ')}`
}

/** True if they are only checked. */
export function areChecks(targets: readonly Target[]): boolean {
  return targets.every(({ build }) => !build)
}

/** The outcomes of one kind, with their targets. */
export function ofKind<K extends Outcome['kind']>(outcomes: ReadonlyMap<string, Outcome>, kind: K) {
  return [...outcomes].filter((entry): entry is [string, Extract<Outcome, { kind: K }>] => entry[1].kind === kind)
}

/** What is on nodes although cluster.yaml keeps it off them. */
export function leftOnNodes(outcomes: ReadonlyMap<string, Outcome>) {
  return [...outcomes].flatMap(([id, outcome]) => {
    return leftIn(outcome).flatMap((each) => (each.isKeptOff ? { ...each, node: id.slice(id.indexOf('/') + 1) } : []))
  })
}

export function countOutcomes(outcomes: ReadonlyMap<string, Outcome>) {
  const number = (kind: Outcome['kind']) => ofKind(outcomes, kind).length
  return {
    targets: outcomes.size,
    made: number('built'),
    fresh: number('fresh'),
    /** In a dry run: targets that would be built. */
    stale: number('stale'),
    failed: number('failed'),
    cancelled: number('cancelled'),
  }
}
