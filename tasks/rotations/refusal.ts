/** What is refused while something is being rotated, with each way out. */
import { type Failure, refusal } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'

/** `name` as rotate takes it. */
export function refusalDuring(name: string, what: string, { command }: Pick<Workspace, 'command'>): Failure {
  return refusal(what, [
    `finish it: ${command(`rotate ${name} --finish`)}`,
    `or take it back: ${command(`rotate ${name} --undo`)}`,
  ])
}
