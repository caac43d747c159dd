/** The table of docs/install.md, as the table of places has it. */
import { nodeUnits } from '../../tasks/tables/places.ts'

const parts = { pair: ', its pair', kubeconfig: ', without it' } as const
const reads = {
  now: 'reloads',
  poll: 'reloads within 5 min',
  reload: 'reloads within 1 min',
  restart: 'needs a restart',
} as const

/** The cells of each row; in the first column of a unit's first row stands its name. */
export function placeTable(): string[][] {
  const roles = ['gateway', 'control', 'worker'] as const
  const units = roles.flatMap((role) =>
    nodeUnits({ layout: 'harder-way', install: false }, { name: '<node>', role }).map((unit) => ({
      role,
      unit,
    })),
  )
  return [...Map.groupBy(units, ({ unit }) => unit.unit).values()].flatMap((same) =>
    (same[0]?.unit.files ?? []).map(({ file, path, loads, part, isOfKeys }) => [
      `\`${same[0]?.unit.unit}\``,
      same.map(({ role }) => role).join(', '),
      `\`${file}\`${part ? parts[part] : ''}`,
      `\`${path}\``,
      isOfKeys ? 'needs a restart for other keys' : reads[loads],
    ]),
  )
}
