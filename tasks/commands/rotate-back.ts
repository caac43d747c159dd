/** The way back: to the state before the rotation, as far as nothing is lost by it. */
import { refusal } from '../../lib/failure.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Finding } from '../looks/exit-status.ts'
import { heading, type Run, standing } from './rotate-run.ts'

/** Throws a refusal where there is none. */
export async function goBack(run: Run): Promise<readonly Finding[]> {
  const { request, rotation, rotating, say } = run
  const { workspace } = rotating
  let at = standing(run)
  // Of one that was finished the rest is not to be rolled out by this.
  if (at === 0)
    throw refusal(`no rotation of ${rotation.what} is under way: there is nothing to take back`, [
      `what one that was finished, or taken back, has left to do is done by: ${workspace.command('bootstrap')}`,
    ])
  for (let steps = 0; ; steps++) {
    const stage = rotation.stages[at - 1]
    if (!stage) {
      const findings = await run.walk(undefined)
      if (findings.length === 0) say(`the rotation of ${rotation.what} is taken back`)
      return findings
    }
    if (!stage.undo)
      throw refusal(`there is no way back: ${stage.title}`, [
        `finish it: ${workspace.command(`rotate ${rotation.name} --finish`)}`,
      ])
    // It is known only then what was made by it.
    if (stage.bound) {
      say(`back: ${heading(rotation, stage)}`)
      const findings = await run.walk(undefined)
      if (findings.length > 0 || request.signal.aborted) return findings
      const bound = await stage.bound(rotating)
      if (bound.length > 0) return stay(run, bound, steps)
    }
    await stage.undo(rotating)
    at -= 1
    if (at > 0 && !rotation.stages[at - 1]?.bound) {
      const findings = await run.walk(undefined)
      if (findings.length > 0 || request.signal.aborted) return findings
    }
  }
}

/** Refused where not even one step back was made. */
function stay(
  { rotation, rotating: { workspace }, say }: Run,
  bound: readonly string[],
  steps: number,
): readonly Finding[] {
  const remains = `both stay in use, for the sake of ${formatNames(bound)}`
  const on = `go on: ${workspace.command(`rotate ${rotation.name}`)}`
  if (steps === 0) throw refusal(remains, [on])
  say(`${remains}; ${on}`)
  return []
}
