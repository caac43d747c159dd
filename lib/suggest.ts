import { createRequire } from 'node:module'

/** Loaded only when a word is unknown. */
const require = createRequire(import.meta.url)

/** ": did you mean X?" where one of the known words is close to the unknown one, else the list of them. */
export function suggest(unknown: string, known: readonly string[]): string {
  const { closestMatch } = require('leven') as typeof import('leven')
  const maxDistance = Math.max(1, Math.floor(unknown.length / 2))
  const match = closestMatch(unknown.toLowerCase(), known, { maxDistance: Math.min(3, maxDistance) })
  if (match !== undefined) return `did you mean ${match}?`
  return known.length > 20 ? '' : `known are ${known.join(', ')}`
}
