/** A dry run of a rotation: each stage, how far it has come, and what it does on which node. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryToAwait } from '../../lib/failure.ts'
import type { Run } from '../../lib/graph/run.ts'
import { fileAt } from '../../lib/node/state.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatToDo } from '../../lib/show/words.ts'
import { foldAlike, formatNames } from '../../lib/wording.ts'
import type { Place } from '../layouts/layout.ts'
import { reloadFlag } from '../nodes/command-line.ts'
import { digestAt, installOf } from '../nodes/look.ts'
import { lookAtUnits, type UnitsFound } from '../nodes/units.ts'
import { unsetOn } from '../nodes/unreached.ts'
import type { CommandRun } from '../request/command-run.ts'
import type { Finding } from '../request/job.ts'
import { backUpAgain } from '../request/walk.ts'
import { changedBy, type Rotation, type Stage } from '../rotations/rotation.ts'
import { nodeFiles } from '../tables/files.ts'
import { nodeUnits, outageOf } from '../tables/places.ts'

interface UnitPlan {
  readonly unit: string
  readonly files: readonly { readonly file: string; readonly path: string }[]
  /** Otherwise it reloads the files without a restart. */
  readonly restarts: boolean
  readonly isDrained: boolean
  /** What would spare the restart. */
  readonly flag?: string
}

/** The nodes on which a process may reload a file that changes; undefined if one could not be looked at. */
export type Reloading = ReadonlyMap<string, UnitsFound | undefined>

/** Looks at nodes only where the command line, or the version, of a process decides whether it is restarted. */
export async function lookAtReloading(rotation: Rotation, run: Run): Promise<Reloading> {
  const { cluster } = run
  const changes = changedBy(rotation, cluster)
  const depends = (node: ClusterNode) =>
    nodeUnits(cluster, node).some(
      ({ files, reads }) =>
        files.some(({ file, mayReload, part }) => (mayReload || part) && changes(file)) ||
        reads.some(({ file, mayMove }) => mayMove && changes(file)),
    )
  const looks = cluster.nodes.filter(depends).map(async (node) => {
    const found = await tryToAwait(() => lookAtUnits({ ...run, rotating: rotation.name }, node))
    await run.disconnect(node)
    return [node.name, found] as const
  })
  return new Map(await Promise.all(looks))
}

export async function planRotation(
  run: CommandRun,
  rotation: Rotation,
  { at, note, seen }: { readonly at: number; readonly note?: string; readonly seen: Reloading },
): Promise<readonly Finding[]> {
  const { options, cluster, print } = run
  const { stages } = rotation
  const end = options.finish ? stages.length : stages.length - 1
  const say = (text: string, indent = 0) => print(' '.repeat(indent) + text)
  if (note !== undefined) print(options.json ? formatJsonLine({ type: 'note', message: note }) : `${note}\n`)
  const changes = changedBy(rotation, cluster)
  const toChange = cluster.nodes.flatMap((node) => {
    const found = seen.get(node.name)
    return found ? unsetOn(run, found, changes).map((what) => `${node.name}: ${what}`) : []
  })
  if (toChange.length > 0 && !options.json) say(['Before the first stage:', ...toChange, ''].join('\n'))
  for (const [i, stage] of stages.entries()) {
    const state = i < at ? (i === at - 1 ? 'under way' : 'done') : i < end ? 'to do' : 'with --finish'
    const nodes = cluster.nodes.map((node) => ({
      node: node.name,
      units: plannedUnits(run, node, stage, seen.get(node.name)),
    }))
    const { name, title, proof, undo } = stage
    const position = { number: i + 1, state, of: stages.length }
    if (options.json) {
      const row = { type: 'stage', rotation: rotation.name, name, title, ...position, proof, undo: undo !== undefined }
      print(formatJsonLine({ ...row, nodes }))
      continue
    }
    if (i > 0) print('')
    say(`Stage ${position.number} of ${position.of} (${state}): ${title}`)
    const changing = nodes.filter(({ units }) => units.length > 0)
    const format = (unit: UnitPlan) => formatUnit(unit, options.verbose)
    const textOf = ({ units }: (typeof nodes)[number]) => units.map(format).join('\n')
    for (const { group, shared } of foldAlike(changing, ({ node }) => node, textOf)) {
      say(formatNames(group.map(({ node }) => node)), 2)
      for (const unit of group[0].units) say(shared(format(unit)), 4)
    }
    const restarted = nodes.flatMap(({ units }) => units.flatMap(({ unit, restarts }) => (restarts ? [unit] : [])))
    const outage = outageOf(cluster, restarted)
    if (outage) say(outage, 2)
    say(`proof: ${proof}`, 2)
    print(`  way back: ${undo ? run.command(`rotate ${rotation.name} --undo`) : 'none'}`)
  }
  if (at >= end && !stages[at - 1]?.isLast) return []
  const toDo = `after each stage, ${backUpAgain(run.auth)}`
  const lines = options.json ? [formatJsonLine({ type: 'note', message: toDo })] : ['', ...formatToDo({ toDo: [toDo] })]
  for (const line of lines) print(line)
  return ['stale']
}

function plannedUnits(run: Run, node: ClusterNode, stage: Stage, found: UnitsFound | undefined): UnitPlan[] {
  const { cluster } = run
  const deployed = new Set(nodeFiles(cluster, node))
  // One that names its CA by a file stays as it is.
  const stays = (place: Place) =>
    place.part === 'kubeconfig' && found && fileAt(found.places, place.path)?.sha256 === digestAt(run, place)
  return (found?.units ?? nodeUnits(cluster, node)).flatMap(({ unit, files, isDrained = false }): UnitPlan[] => {
    const changed = files.filter(
      (place) =>
        deployed.has(place.file) && place.part !== 'pair' && !stays(place) && stage.changes(place.file, cluster),
    )
    if (changed.length === 0) return []
    const restarting = changed.filter(({ loads }) => loads === 'restart')
    const restarts = restarting.length > 0
    const mayReload = restarts && restarting.every((place) => place.mayReload)
    return [
      {
        unit,
        files: changed.map(({ file, path }) => ({ file, path })),
        restarts,
        isDrained: restarts && isDrained && installOf(run).drain !== '',
        ...(mayReload && { flag: `${reloadFlag}=true` }),
      },
    ]
  })
}

function formatUnit({ unit, files, restarts, isDrained, flag }: UnitPlan, isVerbose: boolean): string {
  const what = [...new Set(files.map(({ file, path }) => (isVerbose ? `${file} → ${path}` : file)))].join(', ')
  const unless = flag ? `, unless it has ${flag} in its command line` : ''
  return `${unit}: ${restarts ? 'by restart' : 'by itself'}${isDrained ? ', drained' : ''}${unless} (${what})`
}
