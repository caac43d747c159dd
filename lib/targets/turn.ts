/** Checking and writing thousands of files blocks the event loop: yields so that signals and the tree are served. */
import { setImmediate } from 'node:timers/promises'

/** Milliseconds. */
const slice = 20
let turnBegan = performance.now()
const waiting: (() => void)[] = []

/** Nothing may be awaited between this check and the work, or all targets would pass the check before any works. */
export function isTurnOver(): boolean {
  return performance.now() - turnBegan > slice
}

/** First come, first served: of thousands that wait, each is resumed once, when there is time for its work. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) serve()
  })
}

async function serve(): Promise<void> {
  for (const resume of waiting) {
    if (isTurnOver()) {
      await setImmediate()
      turnBegan = performance.now()
    }
    resume()
    // What was resumed works first.
    await undefined
  }
  waiting.length = 0
}
