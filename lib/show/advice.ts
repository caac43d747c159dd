/** What a run leaves to do: on which nodes it replaced files, and which units read them only at their start. Pure. */
import { isUnreached } from '../failure.ts'
import type { Outcome, Target } from '../graph/target.ts'
import { foldAlike, formatDate, formatLeftInWords, formatNames } from '../wording.ts'

export interface Advice {
  readonly nodes: readonly string[]
  /** Files that were replaced there; `<name>` stands for the node's own name where there are several nodes. */
  readonly files: readonly string[]
  readonly restart: readonly string[]
}

/** The CA expires within renewBefore, and no run renews it. */
export interface CaAdvice {
  readonly expires: Date
  /** Left, rounded down. */
  readonly days: number
  /** To type, one after the other. */
  readonly commands: readonly string[]
}

/** Only for files that were replaced, and only if no later target (install) takes them further. */
export function adviseAfter(targets: readonly Target[], outcomes: ReadonlyMap<string, Outcome>): Advice[] {
  const restartsFor = unitsToRestart(targets)
  const replaced = targets.flatMap((target) => {
    const outcome = outcomes.get(target.id)
    if (outcome?.kind !== 'built') return []
    const files = outcome.reasons.flatMap((reason) => (reason.kind === 'on-node' ? reason.differ : []))
    const restart = restartsFor(target, files)
    return restart && files.length > 0 ? [{ node: target.node ?? '', files, restart }] : []
  })
  const textOf = ({ files, restart }: (typeof replaced)[number]) => [...files, ...restart].join(' ')
  return foldAlike(replaced, ({ node }) => node, textOf).map(({ group, shared }) => ({
    nodes: group.map(({ node }) => node),
    files: group[0].files.map(shared),
    restart: group[0].restart,
  }))
}

/** Which units of a node read files only at their start; undefined if a later target (install) restarts them. */
export function unitsToRestart(targets: readonly Target[]) {
  const restarts = new Map(
    targets.flatMap(({ makes, restarts = [] }) => makes.map((file): [string, readonly string[]] => [file, restarts])),
  )
  const takenOn = new Set(targets.flatMap(({ needs }) => needs))
  return ({ id, where, units }: Target, files: readonly string[]): string[] | undefined => {
    if (where !== 'node' || takenOn.has(id)) return undefined
    const all = new Set(files.flatMap((file) => restarts.get(file) ?? []))
    return [...all].filter((unit) => units?.includes(unit) ?? true)
  }
}

/** Nodes that were not worked on because others, which come first, could not be reached. */
export interface Held {
  readonly nodes: readonly string[]
  readonly by: readonly string[]
}

/** None if anything else has failed: what was done to that node may be wrong for the others too. */
export function findHeld(targets: readonly Target[], outcomes: ReadonlyMap<string, Outcome>): Held {
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

/** "control0, control1: kubernetes.pem replaced: where its units read a copy, copy it again" */
export function formatAdvice({ nodes, files, restart }: Advice): string {
  const copies = files.length === 1 ? 'it' : 'them'
  const inTurn = nodes.length > 1 ? ', one node at a time' : ''
  const then = restart.length > 0 ? `, then restart ${restart.join(', ')}${inTurn}` : ''
  return `${formatNames(nodes)}: ${formatNames(files)} replaced: copy ${copies} to where the units read ${copies}${then}`
}

/** "The CA expires in 19 days, on 2036-11-23, and every certificate with it: npm run task -- ca --renew, then …" */
export function formatCaAdvice({ expires, commands }: CaAdvice, now: Date): string {
  const left = formatLeftInWords(expires.getTime() - now.getTime())
  return `The CA expires in ${left}, on ${formatDate(expires, now)}, and every certificate with it: ${commands.join(', then ')}`
}

/** "worker0, worker1 wait for control0; without it: npm run task -- install --node worker0 --node worker1" */
export function formatHeld({ nodes, by }: Held, commandFor: (options: string) => string): string {
  const shown = nodes.length > 3 ? nodes.slice(0, 1) : nodes
  const typed = commandFor(shown.map((node) => `--node ${node}`).join(' '))
  const [wait, it] = [nodes.length === 1 ? 'waits' : 'wait', by.length === 1 ? 'it' : 'them']
  const more = nodes.length > shown.length ? ', and so on' : ''
  return `${formatNames(nodes)} ${wait} for ${formatNames(by)}; without ${it}: ${typed}${more}`
}
