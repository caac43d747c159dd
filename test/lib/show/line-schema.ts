/**
 * The lines that --json prints, by their type. output.schema.json is made from this (`npm run schema`), and every line that a test
 * has printed is held to it. docs/json.md explains them.
 */
import * as v from 'valibot'

const text = v.string()
const texts = v.array(text)
const number = v.pipe(v.number(), v.integer(), v.minValue(0))
const flag = v.boolean()
/** Absent where it is false. */
const mark = v.optional(v.literal(true))
const optionalText = v.optional(text)
/** RFC 3339, UTC, in whole seconds. */
const time = v.pipe(text, v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/))
const mode = v.pipe(text, v.regex(/^[0-7]{4}$/))
const state = v.picklist(['fresh', 'stale', 'failed'])

const reason = v.variant('kind', [
  ofKind('missing', { path: text }),
  ofKind('unreadable', { path: text, what: text }),
  ofKind('not-a-file', { path: text }),
  ofKind('wrong-mode', { path: text, was: mode, wanted: mode }),
  ofKind('key-mismatch', { path: text }),
  ofKind('subject-changed', { added: texts, removed: texts }),
  ofKind('san-changed', { added: texts, removed: texts }),
  ofKind('usages-changed', {}),
  ofKind('key-kind-changed', { was: text, wanted: text }),
  ofKind('other-issuer', {}),
  ofKind('chain-changed', {}),
  ofKind('rotation', { what: text }),
  ofKind('not-accepted', { what: text }),
  ofKind('expires', { notAfter: time, expired: flag, isNear: mark }),
  ofKind('not-yet-valid', { notBefore: time }),
  ofKind('content-changed', { path: text, what: texts }),
  ofKind('resources-added', { added: texts }),
  ofKind('revoked', {}),
  ofKind('revoked-changed', { added: texts, removed: texts }),
  ofKind('on-node', {
    ...{ missing: texts, differ: texts, wrongMode: texts, wrongOwner: texts, pruned: texts, leftovers: texts },
  }),
  ofKind('unit', {
    unit: text,
    places: v.array(v.strictObject({ path: text, what: text })),
    ...{ notLoaded: texts, notServed: v.array(number), state: optionalText, restarts: flag },
    ...{
      notStartedWith: v.optional(texts),
      restartsBefore: optionalText,
      selfMadeEnds: v.optional(time),
      isDrained: flag,
      isForKey: mark,
      isPinned: mark,
    },
  }),
  ofKind('left-drained', { nodes: texts }),
  ofKind('need-rebuilt', { ids: texts }),
  ofKind('locked', { path: text, isStale: flag }),
  ofKind('forced', { replaces: mark, renews: mark }),
])

const certificate = v.optional(v.strictObject({ key: text, expires: time, names: number }))

const change = v.variant('kind', [
  ofKind('made', { files: texts, isNew: flag, isReplaced: mark, isRestored: mark, is: certificate, was: certificate }),
  ofKind('deployed', { files: texts, removed: texts }),
  ofKind('installed', { paths: texts, removed: texts, restarts: texts }),
  ofKind('proven', { units: texts }),
  ofKind('rewritten', { objects: number }),
])

const step = v.variant('doing', [
  v.strictObject({ doing: v.picklist(['new key', 'signing', 'swapping', 'checking again']) }),
  v.strictObject({ doing: v.picklist(['copying', 'installing']), files: number }),
  v.strictObject({ doing: v.literal('restarting'), unit: text }),
  v.strictObject({ doing: v.picklist(['draining', 'undraining']), node: text }),
  v.strictObject({ doing: v.literal('rewriting'), done: number, of: number }),
  v.strictObject({ doing: v.literal('waiting for'), unit: text, path: text }),
  v.strictObject({ doing: v.literal('watching'), seconds: number }),
  v.strictObject({ doing: v.literal('polled by'), unit: text, seconds: number }),
])

/** What does not belong on a node, and is left there. */
const left = v.optional(v.array(v.strictObject({ file: text, path: text, isKeptOff: mark, why: optionalText })))

const verdict = {
  reasons: v.array(reason),
  ...{ until: v.optional(time), renewsFrom: v.optional(time), note: optionalText, warning: optionalText },
  isUnfinished: mark,
  unreached: v.optional(texts),
  revokedInForce: v.optional(number),
  units: v.optional(texts),
  left,
}
const failure = { id: optionalText, message: text, remedy: optionalText, cause: optionalText }

const lines = {
  cluster: line('cluster', { name: text, file: text, nodes: number }),
  note: line('note', { message: text }),
  error: line('error', {
    ...{ file: optionalText, line: v.optional(number), column: v.optional(number) },
    ...failure,
  }),
  refused: line('refused', failure),
  started: line('started', { id: text }),
  queued: line('queued', { id: text }),
  building: line('building', { id: text, reasons: v.array(reason) }),
  step: line('step', { id: text, step }),
  fresh: line('fresh', { id: text, ...verdict, message: text }),
  built: line('built', {
    ...{ id: text, reasons: v.array(reason), change: v.optional(change), warning: optionalText, message: text },
    isUnfinished: mark,
    left,
  }),
  stale: line('stale', { id: text, ...verdict, change: v.optional(change), message: text }),
  failed: line('failed', { ...failure, refused: v.optional(flag), stack: optionalText }),
  cancelled: line('cancelled', { id: text, because: texts, isBegun: mark, message: text }),
  planned: line('planned', {
    ids: texts,
    mark: v.picklist(['+', '~', '-']),
    ...{ why: text, facts: text, copied: texts, installed: texts, removed: texts, restarts: texts, yours: texts },
  }),
  plan: line('plan', {
    hash: v.pipe(text, v.regex(/^[0-9a-f]{64}$/)),
    ...{ added: number, changed: number, removed: number, restarts: number },
  }),
  summary: line('summary', {
    ...{ targets: number, made: number, fresh: number, stale: number, failed: number, cancelled: number },
    seconds: v.number(),
    exit: number,
    advice: v.array(
      v.union([
        v.strictObject({ nodes: texts, files: texts, restart: texts }),
        v.strictObject({ expires: time, days: number, commands: texts }),
      ]),
    ),
    toDo: v.optional(texts),
    nextToExpire: v.optional(v.strictObject({ name: text, expires: time, renewsFrom: v.optional(time) })),
    goOn: optionalText,
  }),
  statusSummary: line('summary', {
    ...{ items: number, fresh: number, stale: number, failed: number, endsSoon: number },
    ...{ firstEnd: v.optional(time), exit: number },
  }),
  item: line('item', {
    ...{ id: text, phase: text, where: v.picklist(['auth', 'node', 'kubeconfig']), node: optionalText },
    ...{ name: text, files: texts, purpose: text, issuer: optionalText, notAfter: v.optional(time) },
    fingerprint: optionalText,
    ...{ end: v.optional(time), endsSoon: flag, state, message: optionalText, warning: optionalText },
    onNodes: v.optional(v.record(text, v.picklist(['same', 'differs', 'missing', 'unknown']))),
  }),
  node: line('node', {
    ...{ node: text, state, message: text },
    ...{ deployed: v.optional(flag), installed: v.optional(flag), loaded: v.optional(flag), until: v.optional(time) },
    revokedInForce: v.optional(number),
    uses: v.optional(v.array(v.strictObject({ users: texts, until: time, count: number, since: time }))),
    refused: v.optional(v.strictObject({ count: number, since: time })),
    left,
  }),
  rotation: line('rotation', {
    ...{ name: text, what: text, title: text, stage: number, of: number, isLastNext: flag },
    ...{ uses: texts, message: optionalText },
  }),
  stage: line('stage', {
    ...{ rotation: text, name: text, title: text, number, of: number, proof: text, undo: flag },
    state: v.picklist(['done', 'under way', 'to do', 'with --finish']),
    nodes: v.array(
      v.strictObject({
        node: text,
        units: v.array(
          v.strictObject({
            ...{ unit: text, restarts: flag, isDrained: flag, flag: optionalText },
            files: v.array(v.strictObject({ file: text, path: text })),
          }),
        ),
      }),
    ),
  }),
  file: line('file', { name: text, text: optionalText, path: optionalText }),
  completion: line('completion', { shell: text, text }),
  target: line('target', {
    ...{ id: text, phase: text, node: optionalText, needs: texts, after: texts, makes: texts },
  }),
  report: line('report', { path: text }),
  phase: line('phase', { name: text, title: text, makes: text }),
  command: line('command', { name: text, does: text }),
  version: line('version', { version: text }),
}

/** What the parts are called in the file. */
export const parts = { ...lines, reason, change, certificate, time }
export const lineSchema = v.union(Object.values(lines))

function line<const T extends string, E extends v.ObjectEntries>(type: T, entries: E) {
  return v.strictObject({ type: v.literal(type), format: v.literal(1), ...entries })
}

function ofKind<const T extends string, E extends v.ObjectEntries>(kind: T, entries: E) {
  return v.strictObject({ kind: v.literal(kind), ...entries })
}
