/** The way on: from where a rotation stands, one stage after the other, each begun when the one before is proven. */
import { Failure, refusal, runAgain } from '../../../lib/failure.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { formerHoldersNote } from '../../looks/former-holders.ts'
import { formatNotAsked } from '../../looks/under-way.ts'
import type { Stage } from '../../rotations/rotation.ts'
import { tellUses } from '../../rotations/table.ts'
import { heading, type Run, standing } from './run.ts'

/** To its last stage but one; with --finish to its end. */
export async function goOn(run: Run): Promise<readonly Finding[]> {
  const { request, rotation, rotating, say } = run
  const { stages } = rotation
  const { finish } = request.options
  let at = standing(run)
  // What finishes it may have been ended before it was proven.
  const isOver = at === 0 && finish
  if (isOver)
    say(
      `no rotation of ${rotation.what} is under way (${rotating.workspace.command(`rotate ${rotation.name}`)} begins one); where one was finished, what it promised is proven again`,
    )
  let stage = isOver ? stages.at(-1) : stages[at - 1]
  for (;;) {
    if (!isOver) say(heading(rotation, stage))
    const findings = await run.walk(stage)
    if (findings.length > 0 || request.signal.aborted) return findings
    if (stage?.isLast) return []
    const next = stages[at]
    if (!next) return []
    if (next.isLast && !finish) {
      await tellWhatIsLeft(run, next)
      return []
    }
    await holdBack(run, next)
    await next.begin(rotating)
    at += 1
    stage = next
  }
}

/** Refuses to end what somebody known still uses. */
async function holdBack({ rotation, rotating, say }: Run, next: Stage): Promise<void> {
  const held = (await next.heldBy?.(rotating)) ?? []
  if (held.length === 0) return
  if (rotating.isForced && !next.isNeverForced) {
    for (const each of held) say(`given up: ${each}`)
    return
  }
  throw refusal(`the earlier one is still used by ${held.join('; ')}`, [
    `have them take up the new one, then ${runAgain}`,
    ...(next.isNeverForced
      ? []
      : [`or cut them off: ${rotating.workspace.command(`rotate ${rotation.name} --finish --force`)}`]),
  ])
}

async function tellWhatIsLeft({ rotation, rotating, say }: Run, next: Stage): Promise<void> {
  const { command } = rotating.workspace
  const sentences = await tellUses(rotating, rotation).catch((error) => {
    if (!(error instanceof Failure)) throw error
    return [formatNotAsked(error)]
  })
  for (const sentence of sentences) say(sentence)
  for (const note of formerHoldersNote(rotating.workspace)) say(note)
  say(`left to do: ${next.title}`)
  say(`    ${command(`rotate ${rotation.name} --finish`)}`)
  say('or back:')
  say(`    ${command(`rotate ${rotation.name} --undo`)}`)
}
