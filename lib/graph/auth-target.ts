/** What all targets with files in auth/ have in common. */

import type { Change } from '../change.ts'
import { Failure, runAgain } from '../failure.ts'
import { isRepair } from '../reason.ts'
import type { Target, Work } from './target.ts'
import type { Workspace } from './workspace.ts'

/** Wraps a target: refuses a folder in the place of a file, repairs modes, and skips the build if only modes were wrong. */
export function authTarget<Found>(target: Target<Found>): Target<Found> {
  return {
    ...target,
    check: async (workspace, force) => {
      const look = await target.check(workspace, force)
      refuseFolders(target, workspace)
      return look
    },
    build: async (workspace, work) => {
      refuseFolders(target, workspace)
      for (const reason of work.reasons)
        if (reason.kind === 'wrong-mode') workspace.auth.setMode(reason.path, reason.wanted)
      if (isRepair(work.reasons)) return undefined
      const built = await target.build?.(workspace, work)
      return built?.change ? { ...built, change: asReplaced(built.change, work) } : built
    },
    ...(target.foresee && {
      foresee: async (workspace, work) => asReplaced(await target.foresee?.(workspace, work), work),
    }),
  }
}

function asReplaced(change: Change | undefined, { force }: Pick<Work, 'force'>): Change | undefined {
  const isReplaced = change?.kind === 'made' && !change.isNew && force === 'replace'
  return isReplaced ? { ...change, isReplaced } : change
}

/** A rename replaces anything but a folder, which may be the user's. */
function refuseFolders({ makes }: Pick<Target, 'makes'>, { auth }: Workspace): void {
  const folder = makes.find((name) => auth.read(name)?.kind === 'folder')
  if (folder !== undefined)
    throw new Failure(`a folder is in the place of ${auth.path}/${folder}`, {
      remedy: `move it away, then ${runAgain}`,
    })
}
