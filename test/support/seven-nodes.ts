/** Where nodes are made to fail: the guide's seven, bootstrapped once, and what a run left on each. */
import assert from 'node:assert/strict'
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Lab, type LabNodeOptions, startLab } from '../lab/lab.ts'
import { type Edit, gateway, harderway, labEdits, makePlace, type Ran, writeCluster } from './harderway.ts'
import { shellFiles } from './three-nodes.ts'

export const sevenNames = ['control0', 'control1', 'control2', 'worker0', 'worker1', 'worker2', 'gateway']

export interface SevenNodes extends AsyncDisposable {
  readonly path: string
  readonly lab: Lab
  /** cluster.yaml with changes to what it was at first. */
  write(...edits: Edit[]): void
  run(...args: string[]): Promise<Ran>
  /** Takes everything from the nodes that a run puts there. */
  empty(): void
  /** Nodes that have all their files, each with the bytes of auth/ and its mode, and nothing else. */
  rightNodes(): string[]
  /** What stands in the node's home, but for the lab's own. */
  filesOn(name: string): string[]
}

export async function makeSevenNodes(
  special: (place: string) => readonly LabNodeOptions[] = () => [],
): Promise<SevenNodes> {
  const path = makePlace()
  const specials = special(path)
  const nodes = sevenNames.map((name) => specials.find((one) => one.name === name) ?? { name })
  const lab = await startLab({ dir: join(path, 'lab'), nodes })
  const write = (...edits: Edit[]) =>
    writeCluster(path, [[['certificates', 'key'], 'ecdsa-p256'], ...labEdits(lab), gateway, ...edits])
  const run = (...args: string[]) => harderway(path, ...args)
  const filesOn = (name: string) => readdirSync(lab.node(name).home).filter((file) => !shellFiles.includes(file))
  const dispose = async () => {
    await lab.stop()
    rmSync(path, { recursive: true, force: true })
  }
  try {
    write()
    const first = await run('bootstrap')
    assert.equal(first.status, 0, first.stdout + first.stderr)
  } catch (error) {
    await dispose()
    throw error
  }
  const expected = new Map(sevenNames.map((name) => [name, filesOn(name).toSorted()]))
  const isRight = (name: string) => {
    const files = filesOn(name).toSorted()
    return (
      files.join() === expected.get(name)?.join() &&
      files.every((file) => {
        const there = join(lab.node(name).home, file)
        const mode = file.endsWith('.pem') && !file.endsWith('-key.pem') ? 0o644 : 0o600
        return (
          (lstatSync(there).mode & 0o777) === mode && readFileSync(there).equals(readFileSync(join(path, 'auth', file)))
        )
      })
    )
  }
  return {
    path,
    lab,
    write,
    run,
    empty: () => {
      for (const name of sevenNames)
        for (const file of filesOn(name)) rmSync(join(lab.node(name).home, file), { recursive: true })
    },
    rightNodes: () => sevenNames.filter((name) => existsSync(lab.node(name).home) && isRight(name)),
    filesOn,
    [Symbol.asyncDispose]: dispose,
  }
}

/** Two nodes that fail for one reason. */
export interface TwoFail {
  readonly two: readonly [string, string]
  /** As it is told to people; with hyphens it is the word for scripts. */
  readonly words: string
  readonly remedy: RegExp
  readonly mend: () => Promise<unknown> | unknown
  /** Looked at between the first run and the others. */
  readonly meanwhile?: () => Promise<void>
}

/** On a fault that is there already, with empty nodes. */
export async function assertTwoFail(seven: SevenNodes, { two, words, remedy, mend, meanwhile }: TwoFail) {
  const others = sevenNames.filter((name) => !two.includes(name))
  const told = await seven.run('deploy')
  assert.equal(told.status, 1, told.stdout + told.stderr)
  assert.deepEqual(seven.rightNodes(), others)
  const end = told.stdout + told.stderr
  const heading = `2 nodes, ${words}: ${two.join(', ')}\n`
  assert.equal(end.split(heading).length, 2, end)
  assert.match(end.split(heading)[1] ?? '', remedy)
  assert.equal(end.match(new RegExp(remedy, 'g'))?.length, 1, end)
  await meanwhile?.()

  const events = await seven.run('deploy', '--json')
  assert.equal(events.status, 1)
  const failed = events.events.filter(({ type }) => type === 'failed').toSorted(byId)
  assert.deepEqual(
    failed.map(({ id, cause }) => [id, cause]),
    two.map((name) => [`deploy/${name}`, words.replaceAll(' ', '-')]),
  )
  for (const [i, { message }] of failed.entries())
    assert.match(String(message), new RegExp(`^${two[i]}: (?=.*${words})`))
  assert.deepEqual(idsOf(events, 'fresh'), idsFor(others))

  await mend()
  const mended = await seven.run('deploy', '--json')
  assert.equal(mended.status, 0, mended.stdout)
  assert.deepEqual(idsOf(mended, 'built'), idsFor(two))
  assert.deepEqual(seven.rightNodes(), sevenNames)
}

const byId = (a: Record<string, unknown>, b: Record<string, unknown>) => String(a.id).localeCompare(String(b.id))
const idsFor = (names: readonly string[]) => names.map((name) => `deploy/${name}`).toSorted()

/** Of the nodes alone. */
function idsOf(ran: Ran, type: string): string[] {
  const ids = ran.events.filter((event) => event.type === type).map(({ id }) => String(id))
  return ids.filter((id) => id.startsWith('deploy/')).toSorted()
}
