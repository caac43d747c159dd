/** What a run leaves to do: on which nodes it replaced files, and which units read them at their start alone. Pure. */
import { isUnreached } from '../failure.ts'
import type { Outcome } from '../graph/executor.ts'
import type { Target, TargetId } from '../graph/target.ts'
import { formatNames, groupAlike, withoutOwnName } from '../wording.ts'

export interface Advice {
  readonly nodes: readonly string[]
  /** Files that were replaced there; `<name>` stands for the node's own name where there are several nodes. */
  readonly files: readonly string[]
  readonly restart: readonly string[]
}

/** Only for files that were replaced, and only if no later target (install) takes them further. */
export function adviseAfter(targets: readonly Target[], outcomes: ReadonlyMap<TargetId, Outcome>): Advice[] {
  const makers = new Map(targets.flatMap((target) => target.makes.map((file): [string, Target] => [file, target])))
  const takenOn = new Set(targets.flatMap(({ needs }) => needs))
  const replaced = targets.flatMap(({ id, where, node = '', units }) => {
    const outcome = outcomes.get(id)
    if (where !== 'node' || takenOn.has(id) || outcome?.kind !== 'built') return []
    const files = outcome.reasons.flatMap((reason) => (reason.kind === 'on-node' ? reason.differ : []))
    const restart = unitsThatRead(files, makers, units)
    return files.length > 0 ? [{ node, files, restart }] : []
  })
  const shared = ({ node, files }: (typeof replaced)[number]) => files.map((file) => withoutOwnName(file, node))
  return groupAlike(replaced, (each) => [shared(each), each.restart].join(' ')).map((group) => ({
    nodes: group.map(({ node }) => node),
    files: group.length === 1 ? group[0].files : shared(group[0]),
    restart: group[0].restart,
  }))
}

/** Nodes that were not worked on because others, which come first, could not be reached. */
export interface Held {
  readonly nodes: readonly string[]
  readonly by: readonly string[]
}

/** None where anything else has failed: what was done to that node may be wrong for the others too. */
export function findHeld(targets: readonly Target[], outcomes: ReadonlyMap<TargetId, Outcome>): Held {
  const nodesWith = (isSo: (outcome: Outcome) => boolean) => {
    const found = targets.flatMap(({ id, node = '' }) => {
      const outcome = outcomes.get(id)
      return outcome && isSo(outcome) ? [node] : []
    })
    return [...new Set(found)]
  }
  const failed = nodesWith(({ kind }) => kind === 'failed')
  const by = nodesWith((outcome) => outcome.kind === 'failed' && isUnreached(outcome.failure))
  const waiting = nodesWith(({ kind }) => kind === 'cancelled').filter((node) => !failed.includes(node))
  return { nodes: by.length > 0 && failed.length === by.length ? waiting : [], by }
}

/** At their start alone; of those that run on the node, if these are known. */
export function unitsThatRead(
  files: readonly string[],
  makers: ReadonlyMap<string, Target>,
  onNode: readonly string[] | undefined,
): string[] {
  const all = new Set(files.flatMap((file) => makers.get(file)?.restarts ?? []))
  return [...all].filter((unit) => onNode?.includes(unit) ?? true)
}

/** "control0, control1: kubernetes.pem replaced: where its units read a copy, copy it again" */
export function formatAdvice({ nodes, files, restart }: Advice): string {
  const copies = files.length === 1 ? 'it' : 'them'
  const inTurn = nodes.length > 1 ? ', one node at a time' : ''
  const then = restart.length > 0 ? `, then restart ${restart.join(', ')}${inTurn}` : ''
  return `${formatNames(nodes)}: ${formatNames(files)} replaced: copy ${copies} to where the units read ${copies}${then}`
}

/** "worker0, worker1 wait for control0; without it: npm run task -- install --node worker0 --node worker1" */
export function formatHeld({ nodes, by }: Held, command: (task: string) => string): string {
  const shown = nodes.length > 3 ? nodes.slice(0, 1) : nodes
  const typed = command(`install ${shown.map((node) => `--node ${node}`).join(' ')}`)
  const [wait, it] = [nodes.length === 1 ? 'waits' : 'wait', by.length === 1 ? 'it' : 'them']
  const more = nodes.length > shown.length ? ', and so on' : ''
  return `${formatNames(nodes)} ${wait} for ${formatNames(by)}; without ${it}: ${typed}${more}`
}
