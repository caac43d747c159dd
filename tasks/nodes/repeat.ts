/** Repeats a look until its result is good, or its time is over. */
import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds: without a file event, kubelets and API servers check their files only once a minute. */
export const reloadTime = 90_000
/** Milliseconds from one look to the next. The pause grows with the time waited. */
const pauseAfter = (waited: number) => Math.min(50 + waited / 10, 500)

/** Returns undefined once the look finds no reason; otherwise the last reason. */
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
