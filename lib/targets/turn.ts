/** Checking and writing thousands of files blocks the event loop: yields so that signals and the tree are served. */
import { setImmediate } from 'node:timers/promises'

/** Milliseconds. */
const slice = 20
let turnBegan = performance.now()
let turn: Promise<void> | undefined

/** Nothing may be awaited between this check and the work, or all targets would pass the check before any works. */
export function isTurnOver(): boolean {
  return performance.now() - turnBegan > slice
}

export function nextTurn(): Promise<void> {
  turn ??= setImmediate().then(() => {
    turnBegan = performance.now()
    turn = undefined
  })
  return turn
}
