/** Restarts several units of a node at once: reports their steps, and their failures as one. */
import type { Step } from '../../lib/change.ts'
import { Failure } from '../../lib/failure.ts'
import type { Work } from '../../lib/targets/target.ts'

/** Works on all at once. When one ends, the latest step of those still at work is reported again. */
export function tellingTogether<T>(
  tell: Work['tell'],
  all: readonly T[],
  work: (tell: Work['tell'], each: T) => Promise<void>,
): Promise<void>[] {
  /** In order, the latest last. */
  const steps = new Map<T, Step>()
  let told: Step | undefined
  const say = (step: Step) => {
    told = step
    tell(step)
  }
  return all.map(async (each) => {
    const sayOwn = (step: Step) => {
      steps.delete(each)
      steps.set(each, step)
      say(step)
    }
    try {
      await work(sayOwn, each)
    } finally {
      steps.delete(each)
      const left = [...steps.values()].at(-1)
      if (left && left !== told) say(left)
    }
  })
}

/** Throws once all have ended: one Failure with all of theirs. A bug is thrown unchanged. */
export async function allOrFailure(work: readonly Promise<void>[]): Promise<void> {
  const errors = (await Promise.allSettled(work)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
  const failures = errors.filter((error) => error instanceof Failure)
  const [first, ...more] = failures
  if (first === undefined && errors.length > 0) throw errors[0]
  if (first === undefined) return
  if (more.length === 0) throw first
  const remedy = failures.flatMap((failure) => failure.remedy ?? []).join('\n')
  throw first.with({ what: failures.map(({ what }) => what).join('; '), remedy, cause: first })
}
