/** A dry run of a rotation: every stage, where it stands, and what each does on which node. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { breakLines } from '../../lib/paragraph.ts'
import { formatJsonLine } from '../../lib/show/json-lines.ts'
import { formatNames, groupAlike, withoutOwnName } from '../../lib/wording.ts'
import type { Finding } from '../looks/exit-status.ts'
import { openWorkspace, type Request, readUnlocked } from '../request/session.ts'
import type { Rotation, Stage } from '../rotations/rotation.ts'
import { stageNumber } from '../rotations/table.ts'
import { nodeFiles } from '../tables/files.ts'
import { nodeUnits } from '../tables/places.ts'

interface UnitPlan {
  readonly unit: string
  readonly files: readonly { readonly file: string; readonly path: string }[]
  readonly takesUp: 'by itself' | 'by restart'
  readonly isDrained: boolean
}

export async function planRotation(
  request: Request,
  rotation: Rotation,
  install: Install,
): Promise<readonly Finding[]> {
  const { options, cluster, print, width } = request
  const say = (text: string, indent = 0) => {
    for (const line of breakLines(text, width, indent, indent + 2)) print(line)
  }
  const { workspace, close } = openWorkspace(request, () => {})
  const at = await readUnlocked(request, async () => stageNumber(rotation, workspace)).finally(close)
  const end = options.finish ? rotation.stages.length : rotation.stages.length - 1
  const state = (i: number) => (i < at ? (i === at - 1 ? 'under way' : 'done') : i < end ? 'to do' : 'with --finish')
  const steps = rotation.stages.map((stage, i) => ({
    stage,
    number: i + 1,
    state: state(i),
    nodes: cluster.nodes.map((node) => ({ node: node.name, units: plannedUnits(node, install, stage) })),
  }))
  if (options.json)
    for (const { stage, nodes, ...step } of steps)
      print(
        formatJsonLine({
          type: 'stage',
          rotation: rotation.name,
          name: stage.name,
          title: stage.title,
          ...step,
          of: steps.length,
          proof: stage.proof,
          undo: stage.undo !== undefined,
          nodes,
        }),
      )
  else
    for (const { stage, number, state, nodes } of steps) {
      if (number > 1) print('')
      say(`Stage ${number} of ${steps.length} (${state}): ${stage.title}`)
      for (const group of groupAlike(nodes, ({ units }) => JSON.stringify(units.map(withoutPaths)))) {
        const [{ node, units }] = group
        if (units.length === 0) continue
        say(formatNames(group.map(({ node }) => node)), 2)
        const shared = (text: string) => (group.length === 1 ? text : withoutOwnName(text, node))
        for (const unit of units) say(shared(formatUnit(unit, options.verbose)), 4)
      }
      say(`proof: ${stage.proof}`, 2)
      print(`  way back: ${stage.undo ? workspace.command(`rotate ${rotation.name} --undo`) : 'none'}`)
    }
  return at < end || rotation.stages[at - 1]?.isLast ? ['stale'] : []
}

function plannedUnits(node: ClusterNode, install: Install, stage: Stage): UnitPlan[] {
  const deployed = new Set(nodeFiles(node))
  return nodeUnits(node, install).flatMap(({ unit, files, isDrained = false }): UnitPlan[] => {
    const changed = files.filter(({ file }) => deployed.has(file) && stage.changes(file))
    if (changed.length === 0) return []
    const restarts = changed.some(({ by }) => by === 'restart')
    return [
      {
        unit,
        files: changed.map(({ file, path }) => ({ file, path })),
        takesUp: restarts ? 'by restart' : 'by itself',
        isDrained: restarts && isDrained && install.drain !== '',
      },
    ]
  })
}

/** Of nodes that are alike but for their names. */
function withoutPaths({ files, ...unit }: UnitPlan): object {
  return { ...unit, files: files.length }
}

function formatUnit({ unit, files, takesUp, isDrained }: UnitPlan, isVerbose: boolean): string {
  const what = isVerbose
    ? files.map(({ file, path }) => `${file} → ${path}`).join(', ')
    : files.map(({ file }) => file).join(', ')
  return `${unit}: ${takesUp}${isDrained ? ', drained' : ''} (${what})`
}
