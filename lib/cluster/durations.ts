/** Rules about how long certificates are valid. Pure. */
import { parseDuration } from '../duration.ts'
import type { Path, Problem, Raw } from './problem.ts'
import { defaults } from './schema.ts'
import { shown, textOf } from './shown.ts'

export function durationProblems(certificates: Raw): Problem[] {
  const { validity, caValidity, renewBefore } = { ...defaults, ...certificates }
  return Object.entries({ validity, caValidity }).flatMap(([key, value]) =>
    tooShort(value, renewBefore, ['certificates', key]),
  )
}

export function tooShort(validity: unknown, renewBefore: unknown, path: Path): Problem[] {
  const milliseconds = parseDuration(textOf(validity))
  if (!(milliseconds > 0 && milliseconds <= parseDuration(textOf(renewBefore)))) return []
  return [
    {
      path,
      message: `${shown(validity)} must be longer than renewBefore (${textOf(renewBefore)}), or every certificate would be stale at once`,
    },
  ]
}
