/** Why a target is not fresh, and what its build changed: data where it is found, text where it is shown. */
import { basename, dirname } from 'node:path'
import { formatDate, formatNames, groupAlike, isPasteable, joinClauses, octal } from './wording.ts'

export type Change =
  | {
      readonly kind: 'made'
      /** Files of auth/ that are written. */
      readonly files: readonly string[]
      /** Nothing was there before. */
      readonly isNew: boolean
      /** Whatever was made with the replaced one stops working. */
      readonly isReplaced?: true
      /** Facts about the certificate. */
      readonly is?: CertificateFacts | undefined
      /** Facts about the certificate that it replaces. */
      readonly was?: CertificateFacts | undefined
    }
  /** In the folder of a node. */
  | { readonly kind: 'deployed'; readonly files: readonly string[]; readonly removed: readonly string[] }
  /** Absolute paths on a node, and the units there that were restarted, in that order. */
  | {
      readonly kind: 'installed'
      readonly paths: readonly string[]
      /** No run removes files there; --json has had the field. */
      readonly removed: readonly []
      readonly restarts: readonly string[]
    }
  /** The promise of a rotation stage, proven by the answers of these units of a node. */
  | { readonly kind: 'proven'; readonly units: readonly string[] }
  /** Stored objects, each as it was. */
  | { readonly kind: 'rewritten'; readonly objects: number }

export interface CertificateFacts {
  /** `rsa-2048`. */
  readonly key: string
  readonly expires: Date
  /** How many names and addresses it is for. */
  readonly names: number
}

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
  /** Who is revoked, and who regains access. */
  | { readonly kind: 'revoked-changed'; readonly added: readonly string[]; readonly removed: readonly string[] }
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
  /** What a unit on a node does not have, or has not loaded. */
  | {
      readonly kind: 'unit'
      readonly unit: string
      /** Absolute paths of files to install. */
      readonly places: readonly Difference[]
      /** Absolute paths: in place, and changed since the unit was started. */
      readonly notLoaded: readonly string[]
      /** Ports where it serves another certificate than the installed one. */
      readonly notServed: readonly number[]
      /** Flags that its unit file has, and its process has not. */
      readonly notStartedWith?: readonly string[] | undefined
      /** When the certificate that it made itself at its start expires, if that is soon. */
      readonly selfMadeEnds?: Date | undefined
      /** What systemd reports, if it is not healthy. */
      readonly state?: string | undefined
      /** Otherwise it reloads installed files without a restart. */
      readonly restarts: boolean
      readonly isDrained: boolean
    }
  | { readonly kind: 'left-drained'; readonly nodes: readonly string[] }
  | { readonly kind: 'locked'; readonly path: string; readonly isStale: boolean }
  | { readonly kind: 'forced'; readonly replaces?: true; readonly renews?: true }

export type ReasonOf<Kind extends Reason['kind']> = Extract<Reason, { readonly kind: Kind }>

/** How a file on a node differs from what is wanted there. */
export interface Difference {
  readonly path: string
  readonly what:
    | 'missing'
    | 'not a file'
    | 'differs'
    | 'wrong owner'
    | 'wrong mode'
    | 'unreadable for its unit'
    | 'permissions too open'
    | 'dated in the future'
}

/** What a check finds beside its reasons, or a command beside its targets: worded once, placed by who acts next. */
export type Finding = { readonly text: string } & Placement

type Placement = {
  readonly remedy?: string
  /** That it is about, where the text does not name them. */
  readonly nodes?: readonly string[]
  /** Shown at another place, or by another target. */
  readonly isSilent?: true
} & (
  | ({ readonly owner: 'run' } & No<'kind' | 'left' | 'advice'>)
  | ({
      /**
       * `user`: left to do, and the command ends with 4. `afterwards`: left to do once the command, which has done all of
       * its own, has ended. With `run` nobody has to act: a note, or a warning of its target.
       */
      readonly owner: 'user' | 'afterwards'
      /** Sent by --json in the place of the text. */
      readonly advice?: object
    } & No<'kind' | 'left'>)
  /** Of a node: it is not known what its units have loaded. */
  | ({ readonly owner: 'user'; readonly kind: 'unreached' } & No<'left' | 'advice'>)
  | ({ readonly owner: 'run' | 'user'; readonly left: Left } & No<'kind' | 'advice'>)
)

/** Without these fields. */
type No<Fields extends string> = { readonly [Field in Fields]?: undefined }

/** A file of ours on a node that does not belong there, and that the run leaves. */
export interface Left {
  readonly file: string
  /** Absolute. */
  readonly path: string
  /** cluster.yaml wants it on no node. */
  readonly isKeptOff?: true
}

/** One of each text; none of one that is empty. */
export function asFindings(
  texts: readonly (string | false | undefined)[],
  placement: Placement = { owner: 'run' },
): Finding[] {
  return texts.flatMap((text) => (text ? [{ text, ...placement }] : []))
}

/** A key that no node is to have is its user's to remove: no run does it without --prune. It may be the only one. */
export function keyLeft(
  node: string,
  left: Left,
  { hasCopy, remedy }: { readonly hasCopy: boolean; readonly remedy: string },
): Finding {
  const [text, nodes] = [`remove ${left.path}, which cluster.yaml has on no node`, [node]]
  const placement = { owner: 'user', nodes, left: { ...left, isKeptOff: true } } as const
  if (!hasCopy) return { ...placement, text: `${text}, once you have a copy of it: auth/ has none` }
  return { ...placement, text, remedy }
}

export function hasOwner(findings: readonly Finding[] = [], owner: Finding['owner']): boolean {
  return findings.some((each) => each.owner === owner)
}

/** Those of one text are one, with the nodes of all. */
export function foldFindings(findings: readonly Finding[]): Finding[] {
  return groupAlike(findings, ({ text, remedy }) => `${text}\n${remedy}`).map((group) => ({
    ...group[0],
    nodes: [...new Set(group.flatMap(({ nodes = [] }) => nodes))],
  }))
}

export function silenced(finding: Finding): Finding {
  return { ...finding, isSilent: true }
}

export function formatFinding({ nodes = [], text, remedy }: Pick<Finding, 'nodes' | 'text' | 'remedy'>): string {
  const where = nodes.length > 0 ? `on ${formatNames(nodes)}, ` : ''
  // A command follows a colon; a sentence may have a colon of its own.
  const next = remedy === undefined ? '' : (isPasteable(remedy) ? ': ' : '; ') + remedy
  return where + text + next
}

/** What only the check of one kind of target finds, whatever its reasons. */
export type Facts =
  /** Of a node's folder: files under our names that are none of ours. */
  | { readonly kind: 'folder'; readonly unknown: readonly string[] }
  /** Of a node: the units that are installed there. */
  | { readonly kind: 'units'; readonly units: readonly string[] }
  /** Of a control node's list of who is revoked. */
  | {
      readonly kind: 'list'
      /** How many entries of `revoked` its API server denies. */
      readonly revokedInForce: number
    }

type FactsOf<Kind extends Facts['kind']> = Extract<Facts, { readonly kind: Kind }>

/** Undefined where the check has found none of that kind. */
export function factsOf<Kind extends Facts['kind']>(row: { readonly facts?: Facts } | undefined, kind: Kind) {
  return row?.facts?.kind === kind ? (row.facts as FactsOf<Kind>) : undefined
}

/** The result of a check, with what it hands on to build. */
export interface CheckResult<Found = unknown> {
  /** Empty: it is fresh. */
  readonly reasons: readonly Reason[]
  /** When a fresh certificate expires. */
  readonly until?: Date | undefined
  /** When it becomes stale; undefined if it never does, as for one that expires with its CA. */
  readonly renewsFrom?: Date | undefined
  /** What there is, shown if it is fresh. */
  readonly note?: string | undefined
  readonly findings?: readonly Finding[]
  /** For the views. */
  readonly facts?: Facts
  /** What a build would change, of a target whose build says no more. */
  readonly change?: Change | undefined
  /** There is nothing to make: it stays fresh, forced or not. */
  readonly hasNothing?: boolean
  readonly found?: Found
}

/** What is done, by verb. */
export function worksOf({ reasons, change }: Pick<CheckResult, 'reasons'> & { readonly change?: Change | undefined }) {
  const made = change?.kind === 'made' ? change : undefined
  const node = change?.kind === 'deployed' || change?.kind === 'installed' ? change : undefined
  return {
    make: made?.isReplaced ? [] : (made?.files ?? []),
    replace: made?.isReplaced ? made.files : [],
    copy: change?.kind === 'deployed' ? change.files : [],
    install: change?.kind === 'installed' ? change.paths : [],
    remove: node?.removed ?? [],
    restart: change?.kind === 'installed' ? change.restarts : [],
    mode: reasons.flatMap((each) => {
      if (each.kind === 'wrong-mode') return [`${octal(each.wanted)} ${each.path}`]
      return each.kind === 'on-node' ? each.wrongMode : []
    }),
    undrain: reasons.flatMap((each) => (each.kind === 'left-drained' ? each.nodes : [])),
  }
}

/** Only modes are wrong, or nothing is: a repair leaves dependent targets fresh. */
export function isRepair(reasons: readonly Reason[]): reasons is readonly (Reason & { kind: 'wrong-mode' })[] {
  return reasons.every(({ kind }) => kind === 'wrong-mode')
}

type Words = { readonly [K in Reason['kind']]: (reason: ReasonOf<K>) => string }

/** Of a kubeconfig: `users` are those of cluster.yaml to its reader. */
const sections = new Map([
  ['users', 'credentials'],
  ['clusters', 'server or CA'],
])

/** One clause each, without a full stop: "adds SAN 192.168.1.22". */
const words: Words = {
  missing: ({ path }) => `${path} is missing`,
  unreadable: ({ path, what }) => `${path} is not ${what}`,
  'not-a-file': ({ path }) => `${path} is not a regular file`,
  'wrong-mode': ({ path, was, wanted }) => `${path} has mode ${octal(was)}, not ${octal(wanted)}`,
  'key-mismatch': ({ path }) => `${path} is not the key of its certificate`,
  'subject-changed': ({ added, removed }) =>
    joinClauses(list('adds ', added, ' to the subject'), list('drops ', removed, ' from the subject')),
  'san-changed': ({ added, removed }) => joinClauses(list('adds SAN ', added), list('drops SAN ', removed)),
  'usages-changed': () => 'key usages differ',
  'key-kind-changed': ({ was, wanted }) => `key is ${was}, not ${wanted}`,
  'chain-changed': () => 'certificate chain differs',
  rotation: ({ what }) => what,
  'other-issuer': () => 'not issued by the current CA',
  expires: ({ notAfter, expired, isNear }) =>
    `${expired ? 'expired' : 'expires'} ${formatDate(notAfter, isNear && notAfter)}`,
  'not-yet-valid': ({ notBefore }) => `not valid before ${notBefore.toISOString().slice(0, 16)}Z`,
  'content-changed': ({ what }) => `${what.map((each) => sections.get(each) ?? each).join(', ')} changed`,
  'resources-added': ({ added }) => list('encrypts ', added, ' too'),
  'revoked-changed': ({ added, removed }) =>
    joinClauses(list('revoked: ', added), list('no longer revoked: ', removed)),
  'on-node': ({ missing, differ, wrongMode, wrongOwner, pruned, leftovers }) =>
    joinClauses(
      list('', missing, ' missing'),
      list('', differ, differ.length === 1 ? ' differs' : ' differ'),
      list('', wrongMode, ' with a wrong mode'),
      list('', wrongOwner, ' with a wrong owner'),
      list('', pruned, ' removed'),
      list('', leftovers, ' left by an interrupted run'),
    ),
  unit: formatUnit,
  'left-drained': ({ nodes }) => `${formatNames(nodes)} may be left drained by an interrupted run`,
  locked: ({ path, isStale }) => (isStale ? `stale lock ${path}` : `${path} exists`),
  forced: ({ replaces, renews }) =>
    replaces ? 'replaced; the old one is kept in auth/backup' : renews ? 'renewed with the same key' : 'forced',
}

function list(before: string, names: readonly string[], after = ''): string {
  return names.length === 0 ? '' : before + formatNames(names) + after
}

export function formatReason<K extends Reason['kind']>(reason: ReasonOf<K>): string {
  return words[reason.kind as K](reason)
}

export function formatReasons(reasons: readonly Reason[]): string {
  const missing = reasons.flatMap((reason) => (reason.kind === 'missing' ? [reason.path] : []))
  const others = reasons.filter(({ kind }) => kind !== 'missing').map(formatReason)
  return joinClauses(list('', missing, ' missing'), ...others)
}

/** "restart etcd: ca.pem differs in /etc/etcd" */
function formatUnit(reason: ReasonOf<'unit'>): string {
  const { unit, places, notLoaded, notServed, notStartedWith = [], selfMadeEnds, state } = reason
  const { restarts, isDrained } = reason
  const names = (paths: readonly string[]) => formatNames(paths.map((path) => basename(path)))
  const alike = groupAlike(places, ({ path, what }) => `${what} in ${dirname(path)}`).map((group) => {
    const [{ path, what }] = group
    return `${names(group.map((each) => each.path))} ${what === 'differs' && group.length > 1 ? 'differ' : what} in ${dirname(path)}`
  })
  const unloaded = notLoaded.length > 0 && `${names(notLoaded)} installed but not loaded`
  const ports = notServed.length > 0 && `serves another certificate on ${notServed.join(', ')}`
  const flags = list('started without ', notStartedWith)
  const ends = selfMadeEnds && `loopback certificate expires ${formatDate(selfMadeEnds)}`
  const found = [...alike, unloaded, ports, flags, ends, state].filter(Boolean).join(', ')
  const isReloaded = places.length + notServed.length + notLoaded.length > 0
  const restart = `${isDrained ? 'drain and ' : ''}restart ${unit}`
  return `${restarts ? restart : isReloaded ? `reload ${unit}` : `check ${unit} again`}: ${found}`
}

/** What a build is doing now. */
export type Step =
  | { readonly doing: 'new key' | 'signing' | 'swapping' | 'checking again' }
  | { readonly doing: 'copying' | 'installing'; readonly files: number }
  | { readonly doing: 'restarting'; readonly unit: string }
  | { readonly doing: 'draining' | 'undraining'; readonly node: string }
  | { readonly doing: 'rewriting'; readonly done: number; readonly of: number }
  | { readonly doing: 'waiting for'; readonly unit: string; readonly path: string }
  /** That the units which were restarted stay healthy. */
  | { readonly doing: 'watching'; readonly seconds: number }
  /** Until it reads its files again. */
  | { readonly doing: 'polled by'; readonly unit: string; readonly seconds: number }
