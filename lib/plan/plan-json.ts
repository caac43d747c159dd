/** A plan as JSON: a line an entry, before the summary. */
import { formatJsonLine } from '../views/json-lines.ts'
import type { PhaseView } from '../views/phase-view.ts'
import type { Reporter } from '../views/reporter.ts'
import { planEntries } from './plan.ts'

export function createPlanJson(
  write: (line: string) => void,
  phases: readonly PhaseView[],
  progress: Reporter,
): Reporter {
  return {
    ...progress,
    end: async (summary) => {
      for (const { phase, targets, names, ...told } of planEntries(phases, summary.outcomes))
        write(formatJsonLine({ type: 'plan', ids: targets.map(({ id }) => id), ...told }))
      await progress.end(summary)
    },
  }
}
