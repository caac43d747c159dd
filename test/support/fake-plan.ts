/** A leaf, the config made of it, and two nodes that get both: what a dry run of them plans. */
import { stripVTControlCharacters } from 'node:util'
import type { Change } from '../../lib/change.ts'
import { buildGraph } from '../../lib/graph/graph.ts'
import type { Target, Work } from '../../lib/graph/target.ts'
import type { Look, Reason } from '../../lib/reason.ts'
import { createPlanLines, planEntries } from '../../lib/show/plan.ts'
import { byPhase, type Summary } from '../../lib/show/reporter.ts'
import { fakeTarget, fresh, runFakes } from './fake-target.ts'

export const changed: Look = { reasons: [{ kind: 'san-changed', added: ['192.168.1.22'], removed: [] }] }
export const missing = (...paths: string[]): Look => ({ reasons: paths.map((path) => ({ kind: 'missing', path })) })
export const onNode = (told: Partial<Reason & { kind: 'on-node' }>): Look => ({
  reasons: [
    { kind: 'on-node', missing: [], differ: [], wrongMode: [], wrongOwner: [], pruned: [], leftovers: [], ...told },
  ],
})

const phases = ['leaf', 'config', 'deploy', 'install'].map((name) => ({ name, title: `The ${name}s` }))

/** What is there keeps its key. */
function change({ reasons }: Work, files: readonly string[]): Change {
  const isNew = reasons.every(({ kind }) => kind === 'missing')
  return { kind: 'made', files: isNew ? files : files.slice(0, 1), isNew }
}

/** What would be written anew differs there, unless it is missing. */
function checkNode(look: Look | undefined, pending: ReadonlySet<string>): Look {
  const [told] = look?.reasons ?? onNode({}).reasons
  if (told?.kind !== 'on-node') return fresh
  const differ = [...new Set([...told.differ, ...pending])].filter((file) => !told.missing.includes(file))
  return look || differ.length > 0 ? onNode({ ...told, differ }) : fresh
}

/** All of them fresh unless told otherwise, or made of what would change. */
export function fakeCluster(looks: Readonly<Record<string, Look>>): Target[] {
  const target = (id: string, told: Partial<Target>) => fakeTarget(id, { check: () => looks[id] ?? fresh, ...told })
  const node = (name: string) =>
    target(`deploy/${name}`, {
      needs: ['leaf', 'config/a'],
      where: 'node',
      node: name,
      check: ({ pending = new Set() }) => checkNode(looks[`deploy/${name}`], pending),
      foresee: (_, { reasons: [reason] }) =>
        reason?.kind === 'on-node'
          ? { kind: 'deployed', files: [...reason.missing, ...reason.differ], removed: reason.pruned }
          : undefined,
    })
  return [
    target('leaf', {
      makes: ['leaf.pem', 'leaf-key.pem'],
      restarts: ['server', 'store'],
      foresee: (_, work) => change(work, ['leaf.pem', 'leaf-key.pem']),
    }),
    target('config/a', {
      needs: ['leaf'],
      makes: ['a.config'],
      restarts: ['client'],
      foresee: (_, work) => change(work, ['a.config']),
    }),
    node('one'),
    node('two'),
  ]
}

export async function planFakes(all: readonly Target[]) {
  const shown = byPhase(phases, buildGraph(all))
  const outcomes = await runFakes(all, { dryRun: true, foresees: true }).outcomes
  /** As it is written, without a colour. */
  const lines = async (detail: 'verbose' | 'normal' | 'quiet' = 'normal', closing: Partial<Summary> = {}) => {
    const written: string[] = []
    const write = (text: string) => void written.push(stripVTControlCharacters(text))
    const plan = createPlanLines({ phases: shown, detail, write, writeError: write })
    await plan.end({ outcomes, seconds: 0.3, exit: 4, ...closing })
    return written
  }
  return { phases: shown, outcomes, entries: planEntries(shown, outcomes), lines }
}
