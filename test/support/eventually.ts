import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'

/** Milliseconds: what takes so long on a busy computer does not come. */
const limit = 120_000

/** Waits for a state, never for a time: until the look at it does not throw any more, and gives what it then gives. */
export async function eventually<Seen>(look: () => Promise<Seen> | Seen): Promise<Seen> {
  const deadline = Date.now() + limit
  for (;;)
    try {
      return await look()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await wait(10)
    }
}

export function eventuallyNone(list: () => readonly unknown[]): Promise<void> {
  return eventually(() => assert.deepEqual(list(), []))
}
