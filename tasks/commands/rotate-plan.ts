/** A dry run of a rotation: each stage, how far it has come, and what it does on which node. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { breakLines } from '../../lib/paragraph.ts'
import { formatJsonLine } from '../../lib/show/json-lines.ts'
import { formatNames, groupAlike, withoutOwnName } from '../../lib/wording.ts'
import type { Finding } from '../request/exit-status.ts'
import { commandOf } from '../request/host.ts'
import type { Request } from '../request/session.ts'
import type { Rotation, Stage } from '../rotations/rotation.ts'
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
  { install, at }: { readonly install: Install; readonly at: number },
): Promise<readonly Finding[]> {
  const { options, cluster, print, width } = request
  const { stages } = rotation
  const end = options.finish ? stages.length : stages.length - 1
  const say = (text: string, indent = 0) => {
    for (const line of breakLines(text, width, indent, indent + 2)) print(line)
  }
  for (const [i, stage] of stages.entries()) {
    const state = i < at ? (i === at - 1 ? 'under way' : 'done') : i < end ? 'to do' : 'with --finish'
    const nodes = cluster.nodes.map((node) => ({ node: node.name, units: plannedUnits(node, install, stage) }))
    const { name, title, proof, undo } = stage
    const position = { number: i + 1, state, of: stages.length }
    if (options.json) {
      const row = { type: 'stage', rotation: rotation.name, name, title, ...position, proof, undo: undo !== undefined }
      print(formatJsonLine({ ...row, nodes }))
      continue
    }
    if (i > 0) print('')
    say(`Stage ${position.number} of ${position.of} (${state}): ${title}`)
    for (const group of groupAlike(nodes, ({ units }) => JSON.stringify(units.map(withoutPaths)))) {
      const [{ node, units }] = group
      if (units.length === 0) continue
      say(formatNames(group.map(({ node }) => node)), 2)
      const shared = (text: string) => (group.length === 1 ? text : withoutOwnName(text, node))
      for (const unit of units) say(shared(formatUnit(unit, options.verbose)), 4)
    }
    say(`proof: ${proof}`, 2)
    print(`  way back: ${undo ? commandOf(request, `rotate ${rotation.name} --undo`) : 'none'}`)
  }
  return at < end || stages[at - 1]?.isLast ? ['stale'] : []
}

function plannedUnits(node: ClusterNode, install: Install, stage: Stage): UnitPlan[] {
  const deployed = new Set(nodeFiles(node))
  return nodeUnits(node, install).flatMap(({ unit, files, isDrained = false }): UnitPlan[] => {
    const changed = files.filter(({ file, part }) => deployed.has(file) && part !== 'pair' && stage.changes(file))
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

/** Nodes of one role differ only in the paths with their names. */
function withoutPaths({ files, ...unit }: UnitPlan): object {
  return { ...unit, files: files.length }
}

function formatUnit({ unit, files, takesUp, isDrained }: UnitPlan, isVerbose: boolean): string {
  const what = files.map(({ file, path }) => (isVerbose ? `${file} → ${path}` : file)).join(', ')
  return `${unit}: ${takesUp}${isDrained ? ', drained' : ''} (${what})`
}
