/** Runs the command line in the test's own process. Where it takes a process of its own: process.ts. */

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseDocument } from 'yaml'
import { takeLock } from '../../lib/files/lock.ts'
import { main } from '../../tasks/cli.ts'
import { processHost } from '../../tasks/run/host.ts'
import type { Lab } from '../lab/lab.ts'
import { scratch } from './files.ts'

export { parsed as readCluster } from './files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
export const entry = fileURLToPath(new URL('../../tasks/main.js', import.meta.url))

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  /** Of a run with --json. */
  readonly events: readonly Record<string, unknown>[]
}

/** The targets that an event of this type was told of, sorted. */
export function idsOf(ran: Ran, type: string): string[] {
  return ran.events
    .filter((event) => event.type === type)
    .map(({ id }) => String(id))
    .toSorted()
}

/** What was told of a target first. */
export function messageOf(ran: Ran, id: string): unknown {
  return ran.events.find((event) => event.id === id && 'message' in event)?.message
}

export interface Call {
  readonly place: string
  /** More of it than a PATH and a HOME. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly now?: Date
}

/** In this process, and in a place of its own: neither the user's home nor his kubeconfig are touched. */
export async function harderway(call: string | Call, ...args: string[]): Promise<Ran> {
  const { place, env, now }: Call = typeof call === 'string' ? { place: call } : call
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const printed = Promise.all([text(stdout), text(stderr)])
  const status = await main(args, {
    env: { PATH: process.env.PATH, HOME: join(place, 'home'), ...env },
    cwd: () => place,
    now: () => now ?? new Date(),
    waits: processHost.waits,
    stdout,
    stderr,
    onSignal: () => {},
  })
  stdout.end()
  stderr.end()
  return ranOf(args, status, ...(await printed))
}

/** The same; throws unless it ends with that status. */
export const exits = (status: number, ...call: Parameters<typeof harderway>) => withStatus(status, harderway(...call))

/** Where the status is another, what was printed tells why. */
export async function withStatus<Some extends Omit<Ran, 'events'>>(status: number, run: Promise<Some>): Promise<Some> {
  const ran = await run
  assertStatus(ran, status)
  return ran
}

export function assertStatus({ status, stdout, stderr }: Omit<Ran, 'events'>, expected: number): void {
  assert.equal(status, expected, stdout + stderr)
}

export function assertShowsNone({ stdout, stderr }: Ran, secrets: readonly string[]): void {
  assert.ok(secrets.length > 0)
  for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), 'the output shows a secret')
}

export function ranOf(args: readonly string[], status: number | null, stdout: string, stderr: string): Ran {
  // What was killed may have left half a line.
  const lines = args.includes('--json') ? stdout.split('\n').slice(0, -1) : []
  return { status, stdout, stderr, events: lines.map(readJsonLine) }
}

/** A place in which all of this is made before the tests of a suite, or of a file; gone after them. */
export function madePlace(edits: readonly Edit[], ...args: string[]): string {
  const place = makePlace()
  before(async () => {
    writeCluster(place, edits)
    await exits(0, place, ...args)
  })
  after(() => rmSync(place, { recursive: true, force: true }))
  return place
}

/** A new folder, with a home. */
export function makePlace(): string {
  const place = realpathSync(mkdtempSync(join(tmpdir(), 'harderway-test-')))
  mkdirSync(join(place, 'home'))
  return place
}

export type Edit = readonly [path: readonly (string | number)[], value: unknown]

const guideCluster = readFileSync(join(root, 'cluster.yaml'), 'utf8')

/**
 * A cluster.yaml, by default the guide's with keys that are made at once (one of RSA takes 0.2 s), without install, with
 * changes; undefined takes a key out.
 */
export function writeCluster(place: string, edits: readonly Edit[] = [], from: string = guideCluster): void {
  const document = parseDocument(from)
  document.deleteIn(['install'])
  if (from === guideCluster) document.setIn(['certificates', 'key'], 'ecdsa-p256')
  for (const [path, value] of edits) {
    if (value === undefined) document.deleteIn(path)
    else document.setIn(path, document.createNode(value))
  }
  writeFileSync(join(place, 'cluster.yaml'), document.toString())
}

/** What makes a lab's nodes the nodes of cluster.yaml. */
export function labEdits(lab: Pick<Lab, 'sshConfig'>): Edit[] {
  return [
    [['ssh', 'configFile'], lab.sshConfig],
    [['ssh', 'user'], userInfo().username],
  ]
}

/** A configuration of ssh that begins with these lines; the rest is as in `file`. */
export function sshEdit(place: string, lines: readonly string[], file?: string): Edit {
  const path = join(place, 'own_ssh_config')
  writeFileSync(path, [...lines, ...(file === undefined ? [] : [`Include "${file}"`]), ''].join('\n'))
  return [['ssh', 'configFile'], path]
}

export const gateway: Edit = [['nodes', 6], { name: 'gateway', role: 'gateway', ip: '192.168.1.10' }]

/** A node of each role; their certificates end in a year. */
export const oneOfEach: readonly Edit[] = [
  [['certificates', 'validity'], '1y'],
  [
    ['nodes'],
    [
      { name: 'control0', role: 'control', ip: '192.168.1.11' },
      { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
      gateway[1],
    ],
  ],
]

/** A place as the origin is, with a cluster.yaml of its own; gone with the test. */
export function copyPlace(t: TestContext, origin: string, edits: readonly Edit[]): { place: string; auth: string } {
  const place = scratch(t)
  cpSync(origin, place, { recursive: true, preserveTimestamps: true })
  writeCluster(place, edits)
  return { place, auth: join(place, 'auth') }
}

/** Holds an auth/ as another run would, until what is returned is called. */
export async function holdAuth(auth: string): Promise<() => void> {
  mkdirSync(auth, { recursive: true })
  const { signal } = new AbortController()
  return (await takeLock(join(auth, '.lock'), { signal, wait: 0, onWait: () => {} })).release
}

/** A line of --json, held to docs/output.schema.json. */

/** ajv is loaded by the first line: most tests have none. */
const require = createRequire(import.meta.url)
let checks: ReturnType<typeof readSchema> | undefined

/** Of each type alone what checks it: to compile all of them takes half a second, in each test file. */
function readSchema() {
  const { Ajv } = require('ajv') as typeof import('ajv')
  const schema = JSON.parse(readFileSync(new URL('../../docs/output.schema.json', import.meta.url), 'utf8'))
  const ajv = new Ajv({ allErrors: true, validateSchema: false, inlineRefs: false, code: { optimize: false } })
  ajv.addSchema(schema, 'output')
  const names = Object.groupBy(Object.keys(schema.$defs), (name) => schema.$defs[name].properties?.type?.const ?? '')
  return { ajv, checksOf: (type: string) => (names[type] ?? []).map((name) => ajv.getSchema(`output#/$defs/${name}`)) }
}

/** Its fields but for `format`, which each line has. Fails where the schema does not have it. */
export function readJsonLine(line: string): Record<string, unknown> {
  checks ??= readSchema()
  const value = JSON.parse(line)
  const ofType = checks.checksOf(value.type)
  if (ofType.some((isRight) => isRight?.(value))) {
    const { format, ...rest } = value
    return rest
  }
  const errors = ofType.flatMap((check) => check?.errors ?? [])
  assert.fail(`output.schema.json does not have ${line}\n${checks.ajv.errorsText(errors, { separator: '\n' })}`)
}

export interface Inited {
  readonly status: number | null
  /** Lines. */
  readonly printed: readonly string[]
  readonly stderr: string
}

export async function callInit(folder: string, args: readonly string[]): Promise<Inited> {
  const { status, stdout, stderr } = await harderway(folder, 'init', ...args)
  return { status, printed: stdout.split('\n').slice(0, -1), stderr }
}
