/** A plan as a comment on a pull request: in a block, where nothing in it is markup. */
import { stripVTControlCharacters } from 'node:util'
import { createPlanLines, type PlanLinesOptions } from './plan.ts'
import { formatFailure, type Reporter } from './reporter.ts'

export function createPlanMarkdown({
  write,
  ...options
}: Pick<PlanLinesOptions, 'phases' | 'detail' | 'write'>): Reporter {
  const lines: string[] = []
  const add = (text: string) => void lines.push(stripVTControlCharacters(text))
  const progress: Reporter = {
    event: () => {},
    note: add,
    problem: (failure, id) => add(formatFailure(failure, id)),
    end: async () => {},
  }
  const plan = createPlanLines({ ...options, write: add }, progress)
  return {
    ...plan,
    end: async (summary) => {
      await plan.end(summary)
      const text = lines.join('\n')
      const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([{ length }]) => length))
      const fence = '`'.repeat(longest + 1)
      for (const line of [`${fence}text`, text, fence]) write(line)
    },
  }
}
