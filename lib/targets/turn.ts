/** Looking at thousands of files, and writing them, holds the thread: signals and the tree get their turn in between. */
import { setImmediate } from 'node:timers/promises'

/** Milliseconds. */
const slice = 20
let turnBegan = performance.now()
let turn: Promise<void> | undefined

/** Nothing may be awaited between this question and the work: else all would ask first, and then work. */
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
