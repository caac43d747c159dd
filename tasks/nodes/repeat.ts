/** A question that is asked again until its answer is good, or its time is over. */
import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds: kubelets and API servers look at their files once a minute where no event has told them of a change. */
export const takeUpTime = 90_000
/** Milliseconds from one question to the next, which is longer the longer it takes. */
const pauseAfter = (waited: number) => Math.min(50 + waited / 10, 500)

/** Undefined once there is no reason left; else the last one. */
export async function repeat(
  milliseconds: number,
  look: () => Promise<string | undefined>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const begun = performance.now()
  const until = begun + milliseconds
  for (;;) {
    const why = await look()
    if (why === undefined || performance.now() > until) return why
    await delay(pauseAfter(performance.now() - begun), undefined, { signal })
  }
}
