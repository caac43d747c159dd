/**
 * The lines that --json prints, by their type, and what each field means. output.schema.json and the tables in
 * docs/json.md are made from this (`npm run docs`), and every line that a test has printed is held to it.
 */
import * as v from 'valibot'

const { optional, strictObject } = v
const described = <const T extends v.GenericSchema>(meaning: string, schema: T) =>
  v.pipe(schema, v.description(meaning))
const text = (meaning: string) => described(meaning, v.string())
const list = <const T extends v.GenericSchema>(meaning: string, item: T) => described(meaning, v.array(item))
const texts = (meaning: string) => list(meaning, v.string())
const number = (meaning: string) => described(meaning, v.pipe(v.number(), v.integer(), v.minValue(0)))
const flag = (meaning: string) => described(meaning, v.boolean())
/** Absent where it is false. */
const mark = (meaning: string) => optional(described(meaning, v.literal(true)))
const oneOf = <const T extends readonly string[]>(meaning: string, options: T) =>
  described(meaning, v.picklist(options))
const matching = (meaning: string, form: RegExp) => described(meaning, v.pipe(v.string(), v.regex(form)))
/** RFC 3339, UTC, in whole seconds. */
const time = (meaning: string) => matching(meaning, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
const mode = (meaning: string) => matching(meaning, /^[0-7]{4}$/)

const id = text('The target, as it is typed: node-certs/worker0.')
const message = text('What text output says; its words may change.')
const unit = text('The unit, by its name in the guide.')
const path = text('The path of the file.')
const added = texts('What cluster.yaml has and the file does not.')
const removed = texts('What the file has and cluster.yaml does not.')
const state = oneOf('Up to date, out of date, or not known.', ['fresh', 'stale', 'failed'])

const reason = described(
  'Why a target is out of date.',
  v.variant('kind', [
    ofKind('missing', { path }),
    ofKind('unreadable', { path, what: text('What the file is not.') }),
    ofKind('not-a-file', { path }),
    ofKind('wrong-mode', { path, was: mode('The mode of the file.'), wanted: mode('The mode that it needs.') }),
    ofKind('key-mismatch', { path: text('The key, which does not belong to the certificate.') }),
    ofKind('subject-changed', { added, removed }),
    ofKind('san-changed', { added, removed }),
    ofKind('usages-changed', {}),
    ofKind('key-kind-changed', { was: text('The kind of the key.'), wanted: text('The kind in cluster.yaml.') }),
    ofKind('other-issuer', {}),
    described('What follows the certificate in its file has changed.', ofKind('chain-changed', {})),
    ofKind('rotation', { what: text('What the stage still has to do.') }),
    ofKind('expires', {
      notAfter: time('When the certificate expires.'),
      expired: flag('Whether it has expired.'),
      isNear: mark('It expires in less than two days.'),
    }),
    ofKind('not-yet-valid', { notBefore: time('When the certificate becomes valid.') }),
    ofKind('content-changed', { path, what: texts('What differs in the file.') }),
    ofKind('resources-added', { added: texts('The resources to encrypt as well.') }),
    ofKind('revoked-changed', { added: texts('Who is newly revoked.'), removed: texts('Who regains access.') }),
    ofKind('on-node', {
      missing: texts('Files that the node lacks.'),
      differ: texts('Files with other contents.'),
      wrongMode: texts('Files with another mode.'),
      wrongOwner: texts('Files of another owner.'),
      pruned: texts('Files that --prune removes.'),
      leftovers: texts('Files that an interrupted run left.'),
    }),
    ofKind('unit', {
      unit,
      places: list('The files to install.', strictObject({ path, what: text('What is wrong with it.') })),
      notLoaded: texts('Files that changed since the unit started.'),
      notServed: list('Ports that serve another certificate.', number('A port.')),
      state: optional(text('What systemd reports, if the unit is not healthy.')),
      restarts: flag('Whether the unit is restarted.'),
      notStartedWith: optional(texts('Flags that its unit file has and its process does not.')),
      selfMadeEnds: optional(time('When the loopback certificate of the API server expires, if soon.')),
      isDrained: flag('Whether the unit is drained before the restart.'),
    }),
    ofKind('left-drained', { nodes: texts('Nodes that an interrupted run left drained.') }),
    ofKind('need-rebuilt', { ids: texts('Targets that it is made of and that are made first.') }),
    ofKind('locked', { path, isStale: flag('Whether the holder of the lock has ended.') }),
    ofKind('forced', {
      replaces: mark('A new one takes its place.'),
      renews: mark('The CA gets a new certificate over its key.'),
    }),
  ]),
)

const certificate = (meaning: string) =>
  optional(
    described(
      meaning,
      strictObject({
        key: text('The kind of its key: rsa-2048.'),
        expires: time('When it expires.'),
        names: number('How many names and addresses it has.'),
      }),
    ),
  )

const change = described(
  'What was made, or would be.',
  v.variant('kind', [
    ofKind('made', {
      files: texts('Files in auth/.'),
      isNew: flag('Whether nothing was there.'),
      isReplaced: mark('What was made with the old one stops working.'),
      is: certificate('The new certificate.'),
      was: certificate('The certificate that it replaces.'),
    }),
    ofKind('deployed', {
      files: texts('Files copied to the deploy directory.'),
      removed: texts('Files removed from the deploy directory.'),
    }),
    ofKind('installed', {
      paths: texts('Paths written on the node.'),
      removed: texts('Always empty: no run removes files where units read. Deprecated until 0.6.0.'),
      restarts: texts('Units restarted, in this order.'),
    }),
    ofKind('proven', { units: texts('Units whose answers complete the stage of a rotation.') }),
    ofKind('rewritten', { objects: number('How many stored objects were rewritten.') }),
  ]),
)

const step = described(
  'What is being done.',
  v.variant('doing', [
    doing(['new key', 'signing', 'swapping', 'checking again'], {}),
    doing(['copying', 'installing'], { files: number('How many.') }),
    doing(['restarting'], { unit }),
    doing(['draining', 'undraining'], { node: text('The node.') }),
    doing(['rewriting'], { done: number('How many objects are done.'), of: number('How many there are.') }),
    doing(['waiting for'], { unit, path: text('The file that it reloads.') }),
    doing(['watching'], { seconds: number('How long.') }),
    doing(['polled by'], { unit, seconds: number('Within which time it reloads.') }),
  ]),
)

const reasons = list('Why it is out of date.', reason)
const warning = optional(text('What to know or to do; its words may change.'))
const isUnfinished = mark('It waits for a change by you, which the message names.')
const revokedInForce = optional(number('How many entries of revoked the API server of the node denies.'))
const left = optional(
  list(
    'Files of harderway that do not belong on the node.',
    strictObject({
      file: text('Its name.'),
      path,
      isKeptOff: mark('It is a key that no node gets.'),
    }),
  ),
)
const verdict = {
  reasons,
  until: optional(time('When its certificate or its CA expires.')),
  renewsFrom: optional(time('From when a run renews it.')),
  note: optional(text('What to know; its words may change.')),
  warning,
  isUnfinished,
  unreached: optional(texts('Why it is not known what units have loaded.')),
  revokedInForce,
  units: optional(texts('The units installed on the node.')),
  left,
}
const failure = {
  id: optional(id),
  message,
  remedy: optional(text('What to do; its words may change.')),
  cause: optional(text('The cause, a stable word: connection-refused.')),
}
const counts = { fresh: number('How many are up to date.'), failed: number('How many failed.') }
const exit = number('The exit status.')
const title = text('What text output calls it; its words may change.')
const of = number('How many stages there are.')
const phase = text('The phase.')
const node = text('The node.')

const lines = {
  cluster: line('cluster', 'first, by runs, plans, `rotate` and `recover`', {
    name: text('The name in cluster.yaml.'),
    file: text('The path of cluster.yaml.'),
    nodes: number('How many nodes it has.'),
  }),
  note: line('note', 'for what belongs to no target', { message }),
  error: line('error', 'for each mistake on the command line or in `cluster.yaml`', {
    file: optional(text('The file with the mistake.')),
    line: optional(number('Its line, from 1.')),
    column: optional(number('Its column, from 1.')),
    ...failure,
  }),
  refused: line('refused', 'if nothing is done, on purpose', failure),
  started: line('started', 'when a target is checked', { id }),
  queued: line('queued', 'when a target is to be made, and waits', { id }),
  building: line('building', 'when a target is being made', { id, reasons }),
  step: line('step', 'for each step of that', { id, step }),
  fresh: line('fresh', 'if the target is up to date; by `verify` if it passed', { id, ...verdict, message }),
  built: line('built', 'when the target was made', {
    ...{ id, reasons, change: optional(change), warning, message, isUnfinished, left },
  }),
  stale: line('stale', 'if the target would be made', { id, ...verdict, change: optional(change), message }),
  failed: line('failed', 'if the target failed; without `id`, the command failed', {
    ...failure,
    refused: optional(flag('Whether it was refused on purpose.')),
    stack: optional(text('The stack trace of an internal error.')),
  }),
  cancelled: line('cancelled', 'if the target was not made', {
    id,
    because: texts('The targets that failed.'),
    isBegun: mark('It was interrupted.'),
    message,
  }),
  planned: line('planned', 'by `--dry-run`, for targets treated alike', {
    ids: texts('The targets.'),
    mark: oneOf('New, changed, or removed from a node.', ['+', '~', '-']),
    why: text('The reasons; its words may change.'),
    facts: text('Facts about the certificate; its words may change.'),
    copied: texts('Files to copy; <name> is the name of each node.'),
    installed: texts('Paths to install.'),
    removed: texts('Files to remove.'),
    restarts: texts('Units to restart.'),
    yours: texts('Always empty. Deprecated until 0.6.0.'),
  }),
  plan: line('plan', 'by `--dry-run`, if everything was inspected', {
    hash: matching('The hash for --expect-plan.', /^[0-9a-f]{64}$/),
    added: number('How many targets are new.'),
    changed: number('How many targets change.'),
    removed: number('How many files are removed.'),
    restarts: number('How many restarts there are.'),
  }),
  summary: line('summary', 'last; also after each stage of `rotate`', {
    targets: number('How many targets there are.'),
    made: number('How many were made.'),
    ...counts,
    stale: number('How many would be made.'),
    cancelled: number('How many were not made.'),
    seconds: described('How long it took, to the millisecond.', v.number()),
    exit,
    advice: list(
      'What is left to do.',
      v.union([
        strictObject({
          nodes: texts('The nodes.'),
          files: texts('Files that were replaced there.'),
          restart: texts('Always empty. Deprecated until 0.6.0.'),
        }),
        strictObject({
          expires: time('When the CA expires.'),
          days: number('In how many days.'),
          commands: texts('The commands that renew it.'),
        }),
      ]),
    ),
    toDo: optional(texts('What else is left to do; its words may change.')),
    nextToExpire: optional(
      described(
        'What expires next.',
        strictObject({
          name: text('What expires.'),
          expires: time('When it expires.'),
          renewsFrom: optional(time('From when a run renews it.')),
        }),
      ),
    ),
    goOn: optional(text('The command that continues an interrupted run.')),
  }),
  statusSummary: line('summary', 'last, by `status`', {
    items: number('How many items there are.'),
    ...counts,
    stale: number('How many are out of date.'),
    endsSoon: number('How many expire within renewBefore.'),
    firstEnd: optional(time('When the first of them expires.')),
    exit,
  }),
  item: line('item', 'by `status`, for each item', {
    id,
    phase,
    where: oneOf('In auth/, on a node, or in your own kubeconfig.', ['auth', 'node', 'kubeconfig']),
    node: optional(text('The node that it belongs to.')),
    name: text('Its name.'),
    files: texts('Its files.'),
    purpose: text('What it is for.'),
    issuer: optional(text('The CA that issued it.')),
    notAfter: optional(time('When it expires itself.')),
    end: optional(time('The earliest expiry along its chain.')),
    endsSoon: flag('Whether it expires within renewBefore.'),
    state,
    message: optional(message),
    warning,
    onNodes: optional(
      described(
        'Whether each node has the same file.',
        v.record(v.string(), v.picklist(['same', 'differs', 'missing', 'unknown'])),
      ),
    ),
  }),
  node: line('node', 'by `status --on-nodes`', {
    node,
    state,
    message,
    deployed: optional(flag('Whether the deploy directory has its files. Absent if it was not inspected.')),
    installed: optional(flag('Whether its files are where units read them.')),
    loaded: optional(flag('Whether its units have loaded them.')),
    until: optional(time('When the loopback certificate of its API server expires.')),
    revokedInForce,
    left,
  }),
  rotation: line('rotation', 'by `status`, if a rotation is in progress', {
    name: text('As rotate takes it.'),
    what: text('What is replaced.'),
    title,
    stage: number('The number of the stage.'),
    of,
    isLastNext: flag('Whether only --finish continues.'),
  }),
  stage: line('stage', 'by `rotate --dry-run`', {
    rotation: text('The rotation, as rotate takes it.'),
    name: text('The stage.'),
    title,
    number: number('Which stage it is, from 1.'),
    of,
    proof: text('How the stage is checked.'),
    undo: flag('Whether it can be undone.'),
    state: oneOf('How far it is.', ['done', 'under way', 'to do', 'with --finish']),
    files: texts('The files of auth/ that change when it begins.'),
    tried: optional(
      described(
        'The stage, tried in memory. Absent if it has begun.',
        strictObject({
          connections: number('How many connections.'),
          states: number('How many distinct mixtures of what both ends may have loaded.'),
          refused: list(
            'Which connections would be refused.',
            strictObject({
              connection: text('The connection, as verify names it.'),
              client: text('Who connects.'),
              server: text('To what.'),
              state: text('The first of these mixtures.'),
              why: text('Why it is refused.'),
              until: text('How long it is refused.'),
              states: number('In how many mixtures it is refused.'),
            }),
          ),
        }),
      ),
    ),
  }),
  file: line('file', 'by `schedule`, and by `init` for `cluster.yaml`', {
    name: text('The name of the file.'),
    text: optional(text('Its contents.')),
    path: optional(text('Where it was written.')),
  }),
  target: line('target', 'by `graph`', {
    id,
    phase,
    node: optional(node),
    needs: texts('Targets that it is made of.'),
    makes: texts('The files that it makes.'),
  }),
  report: line('report', 'by `report`', { path: text('The file that was written.') }),
  phase: line('phase', 'by `--list`', { name: phase, title, makes: text('What the phase makes.') }),
  command: line('command', 'by `--list`', { name: text('The command.'), does: text('What the command does.') }),
  version: line('version', 'by `--version`', { version: text('The version of harderway.') }),
}

/** What the parts are called in the file. */
export const parts = { ...lines, reason, change }
export const lineSchema = v.union(Object.values(lines))

/** `printed` completes the sentence "It is printed …". */
function line<const T extends string, E extends v.ObjectEntries>(type: T, printed: string, entries: E) {
  return described(printed, strictObject({ type: v.literal(type), format: v.literal(1), ...entries }))
}

function ofKind<const T extends string, E extends v.ObjectEntries>(kind: T, entries: E) {
  return strictObject({ kind: v.literal(kind), ...entries })
}

function doing<const T extends readonly string[], E extends v.ObjectEntries>(what: T, entries: E) {
  return strictObject({ doing: v.picklist(what), ...entries })
}
