/** Why a target is not fresh: data where it is found, text where it is shown. */
import { formatDate, formatNames, octal } from './wording.ts'

export type Reason =
  | { readonly kind: 'missing'; readonly path: string }
  | { readonly kind: 'unreadable'; readonly path: string; readonly what: string }
  | { readonly kind: 'not-a-file'; readonly path: string }
  | { readonly kind: 'wrong-mode'; readonly path: string; readonly was: number; readonly wanted: number }
  | { readonly kind: 'key-mismatch'; readonly path: string }
  | { readonly kind: 'subject-changed'; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly kind: 'san-changed'; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly kind: 'usages-changed' }
  | { readonly kind: 'key-kind-changed'; readonly was: string; readonly wanted: string }
  | { readonly kind: 'other-issuer' }
  /** What follows a certificate in its file. */
  | { readonly kind: 'chain-changed' }
  /** What a stage of a rotation still has to do, in words. */
  | { readonly kind: 'rotation'; readonly what: string }
  | { readonly kind: 'not-accepted'; readonly what: string }
  | {
      readonly kind: 'expires'
      readonly notAfter: Date
      readonly expired: boolean
      /** Less than two days from now, so the time matters. */
      readonly isNear?: true
    }
  | { readonly kind: 'not-yet-valid'; readonly notBefore: Date }
  | { readonly kind: 'content-changed'; readonly path: string; readonly what: readonly string[] }
  | { readonly kind: 'resources-added'; readonly added: readonly string[] }
  | {
      readonly kind: 'on-node'
      readonly missing: readonly string[]
      readonly differ: readonly string[]
      readonly wrongMode: readonly string[]
      readonly wrongOwner: readonly string[]
      /** Files of ours that don't belong there, to be removed by --prune. */
      readonly pruned: readonly string[]
      /** What our runs that were killed left there. */
      readonly leftovers: readonly string[]
    }
  | UnitReason
  | { readonly kind: 'left-drained'; readonly nodes: readonly string[] }
  | { readonly kind: 'need-rebuilt'; readonly ids: readonly string[] }
  | { readonly kind: 'locked'; readonly path: string; readonly isStale: boolean }
  | { readonly kind: 'forced'; readonly replaces?: true }

/** How a file differs from what is wanted there. */
export type DriftKind =
  | 'missing'
  | 'not a file'
  | 'differs'
  | 'wrong owner'
  | 'wrong mode'
  | 'unreadable for its unit'
  | 'open to others'

/** What a unit on a node does not have, or has not loaded. */
export interface UnitReason {
  readonly kind: 'unit'
  readonly unit: string
  /** Absolute paths of files to install. */
  readonly places: readonly {
    readonly path: string
    readonly what: DriftKind | 'dated in the future'
  }[]
  /** Absolute paths: in place, and changed since the unit was started. */
  readonly notLoaded: readonly string[]
  /** Ports where it serves another certificate than the installed one. */
  readonly notServed: readonly number[]
  /** What systemd reports, if it is not healthy. */
  readonly state?: string | undefined
  /** Otherwise it reloads installed files without a restart. */
  readonly restarts: boolean
  /** The version of Kubernetes before which it does not serve a new certificate to everybody until it is restarted. */
  readonly restartsBefore?: string | undefined
  readonly isDrained: boolean
}

/** The result of a check, with what it hands on to build. */
export interface Look<Found = unknown> {
  /** Empty: it is fresh. */
  readonly reasons: readonly Reason[]
  /** When a fresh certificate expires. */
  readonly until?: Date | undefined
  /** When it becomes stale; undefined if it never does, as for one that expires with its CA. */
  readonly renewsFrom?: Date | undefined
  /** Shown if it is fresh. */
  readonly note?: string | undefined
  /** Shown in any case. */
  readonly warning?: string | undefined
  /** For a node: the units that are installed there. */
  readonly units?: readonly string[]
  /** It stays fresh even if its needs are rebuilt. */
  readonly staysFresh?: boolean
  readonly found?: Found
}

/** Only modes are wrong, or nothing is: a repair leaves dependent targets fresh. */
export function isRepair(reasons: readonly Reason[]): reasons is readonly (Reason & { kind: 'wrong-mode' })[] {
  return reasons.every(({ kind }) => kind === 'wrong-mode')
}

/** Without the reasons that come from a target's needs. */
export function ownReasons(reasons: readonly Reason[]): Reason[] {
  return reasons.filter(({ kind }) => kind !== 'need-rebuilt')
}

/** One clause, without a full stop: "SAN added: 192.168.1.22". */
export function formatReason(reason: Reason): string {
  switch (reason.kind) {
    case 'missing':
      return `${reason.path} is missing`
    case 'unreadable':
      return `${reason.path} is not ${reason.what}`
    case 'not-a-file':
      return `${reason.path} is not a plain file`
    case 'wrong-mode':
      return `${reason.path} has mode ${octal(reason.was)}, not ${octal(reason.wanted)}`
    case 'key-mismatch':
      return `${reason.path} is not the certificate's key`
    case 'subject-changed':
      return formatChange('subject', reason)
    case 'san-changed':
      return formatChange('SAN', reason)
    case 'usages-changed':
      return 'usages are not the wanted ones'
    case 'key-kind-changed':
      return `key is ${reason.was}, not ${reason.wanted}`
    case 'chain-changed':
      return 'chain is not the wanted one'
    case 'rotation':
      return reason.what
    case 'other-issuer':
      return 'not issued by the current CA'
    case 'not-accepted':
      return `Kubernetes would refuse it: ${reason.what}`
    case 'expires':
      return `${reason.expired ? 'expired' : 'expires'} ${formatDate(reason.notAfter, reason.isNear && reason.notAfter)}`
    case 'not-yet-valid':
      return `not valid before ${reason.notBefore.toISOString().slice(0, 16)}Z`
    case 'content-changed':
      return `${reason.what.join(', ')} changed`
    case 'resources-added':
      return `resource added: ${formatNames(reason.added)}`
    case 'on-node':
      return [
        formatList(reason.missing, 'missing'),
        formatList(reason.differ, reason.differ.length === 1 ? 'differs' : 'differ'),
        formatList(reason.wrongMode, 'with a wrong mode'),
        formatList(reason.wrongOwner, 'with a wrong owner'),
        formatList(reason.pruned, 'removed'),
        formatList(reason.leftovers, 'left by a killed run'),
      ]
        .filter(Boolean)
        .join('; ')
    case 'unit':
      return formatUnit(reason)
    case 'left-drained':
      return `${formatNames(reason.nodes)} may be left drained by an interrupted run`
    case 'need-rebuilt':
      return `${formatNames(reason.ids)} will be made`
    case 'locked':
      return reason.isStale ? `stale lock ${reason.path}` : `${reason.path} exists`
    case 'forced':
      return reason.replaces ? 'replaced with a new one; the old is kept in backup/' : 'forced'
    default:
      return reason satisfies never
  }
}

export function formatReasons(reasons: readonly Reason[]): string {
  const missing = reasons.flatMap((reason) => (reason.kind === 'missing' ? [reason.path] : []))
  const others = reasons.filter(({ kind }) => kind !== 'missing').map(formatReason)
  return [...(missing.length > 0 ? [`${formatNames(missing)} missing`] : []), ...others].join('; ')
}

/** "etcd: ca.pem differs in /etc/etcd: restart" */
function formatUnit(reason: UnitReason): string {
  const { unit, places, notLoaded, notServed, state, restarts, restartsBefore, isDrained } = reason
  const split = (path: string) => [path.replace(/^.*\//, ''), path.replace(/\/[^/]*$/, '')] as const
  const alike = Map.groupBy(places, ({ path, what }) => `${what} in ${split(path)[1]}`)
  const wrong = [...alike].map(([how, some]) => {
    const verb = some.length > 1 ? how.replace(/^differs /, 'differ ') : how
    return `${formatNames(some.map(({ path }) => split(path)[0]))} ${verb}`
  })
  const unloaded =
    notLoaded.length > 0 && `${formatNames(notLoaded.map((path) => split(path)[0]))} written but not loaded`
  const ports = notServed.length > 0 && `another certificate is served on ${notServed.join(', ')}`
  const found = [...wrong, unloaded, ports, state].filter(Boolean).join(', ')
  const isReloaded = places.length + notServed.length + notLoaded.length > 0
  const reload = restartsBefore
    ? `reloaded, or restarted before Kubernetes ${restartsBefore}`
    : 'reloaded without a restart'
  const way = isReloaded ? reload : 'looked at again'
  return `${unit}: ${found}: ${restarts ? `restart${isDrained ? ', drained' : ''}` : way}`
}

function formatChange(
  what: string,
  { added, removed }: { added: readonly string[]; removed: readonly string[] },
): string {
  const list = (change: string, names: readonly string[]) =>
    names.length === 0 ? '' : `${what} ${change}: ${formatNames(names)}`
  return [list('added', added), list('removed', removed)].filter(Boolean).join('; ')
}

function formatList(names: readonly string[], what: string): string {
  return names.length === 0 ? '' : `${formatNames(names)} ${what}`
}
