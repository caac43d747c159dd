/**
 * The lines that --json prints, by their type, and what each field means. output.schema.json and the tables in
 * docs/json.md are made from this (`npm run docs`), and every line that a test has printed is held to it.
 */
import * as v from 'valibot'
import type { Verb } from '../lib/results.ts'

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

const id = text('The target, as it is typed: node-certs/worker0.')
const message = text('What text output says; its words may change.')

const verbs = [
  ...(['restart', 'update', 'copy', 'install', 'remove', 'replace', 'change', 'renew', 'make'] as const),
  ...(['reload', 'undrain', 'verify', 'rewrite', 'chmod'] as const),
] as const satisfies readonly Verb[]

const diff = described(
  'One way in which what is there is not what is desired.',
  strictObject({
    what: text('In words, which may change.'),
    verb: optional(oneOf('What a run does about it.', verbs)),
    names: optional(texts('To which files, paths on a node or units.')),
  }),
)

const diffs = list('How it differs from what is desired; of what was made, what was done.', diff)
const failure = {
  id: optional(id),
  message,
  remedy: optional(text('What to do; its words may change.')),
  cause: optional(text('The cause, a stable word: unreachable.')),
}
/** The end of a target. */
const row = {
  id,
  diffs,
  message,
  until: optional(time('When its certificate or its CA expires.')),
  note: optional(text('What there is; its words may change.')),
  warn: optional(texts('What to know; its words may change.')),
  todo: optional(texts('What is left to you: the command ends with 4. Its words may change.')),
  because: optional(texts('The targets that failed.')),
  isBegun: mark('It had begun to make it.'),
}
const stack = optional(text('The stack trace of an internal error.'))
const title = text('What text output calls it; its words may change.')
const of = number('How many stages there are.')

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
  building: line('building', 'when a target is being made', { id, diffs }),
  step: line('step', 'for each step of that', { id, step: text('What is being done; its words may change.') }),
  fresh: line('fresh', 'if the target is up to date; by `verify` if it passed', row),
  built: line('built', 'when the target was made', row),
  stale: line('stale', 'if the target would be made, and by `--dry-run` what would be done', row),
  failedRow: line('failed', 'if the target failed', {
    ...row,
    ...failure,
    id,
    refused: flag('Whether it was refused on purpose.'),
    stack,
  }),
  failed: line('failed', 'if the command failed', { ...failure, stack }),
  skipped: line('skipped', 'if the target was not made', row),
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
    fresh: number('How many are up to date.'),
    stale: number('How many would be made.'),
    failed: number('How many failed.'),
    skipped: number('How many were not made.'),
    seconds: described('How long it took, to the millisecond.', v.number()),
    exit: number('The exit status.'),
    todo: optional(texts('What is left to do; its words may change.')),
    goOn: optional(text('The command that continues an interrupted run.')),
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
  report: line('report', 'by `report`', { path: text('The file that was written.') }),
}

/** What the parts are called in the file. */
export const parts = { ...lines, diff }
export const lineSchema = v.union(Object.values(lines))

/** `printed` completes the sentence "It is printed …". */
function line<const T extends string, E extends v.ObjectEntries>(type: T, printed: string, entries: E) {
  return described(printed, strictObject({ type: v.literal(type), format: v.literal(2), ...entries }))
}
