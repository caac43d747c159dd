/** What all targets with files in auth/ have in common. */

import { Failure, runAgain } from '../failure.ts'
import { type Change, isRepair } from '../reason.ts'
import type { Run, Target, Work } from './target.ts'

/** Wraps a target: refuses a folder in the place of a file, repairs modes, and skips the build if only modes were wrong. */
export function authTarget<Found>(target: Target<Found>): Target<Found> {
  return {
    ...target,
    check: async (run, force) => {
      const look = await target.check(run, force)
      refuseFolders(target, run)
      return look
    },
    build: async (run, work) => {
      refuseFolders(target, run)
      for (const reason of work.reasons) if (reason.kind === 'wrong-mode') run.auth.setMode(reason.path, reason.wanted)
      if (isRepair(work.reasons)) return undefined
      await run.checkClocks?.()
      const built = await target.build?.(run, work)
      return built?.change ? { ...built, change: asReplaced(built.change, work) } : built
    },
    ...(target.foresee && {
      foresee: async (run, work) => {
        await run.checkClocks?.()
        return asReplaced(await target.foresee?.(run, work), work)
      },
    }),
  }
}

/** The change that writing one file is. */
export function changeOfFile({ auth }: Pick<Run, 'auth'>, file: string): Change {
  return { kind: 'made', files: [file], isNew: auth.read(file) === undefined }
}

function asReplaced(change: Change | undefined, { force }: Pick<Work, 'force'>): Change | undefined {
  const isReplaced = change?.kind === 'made' && !change.isNew && force === 'replace'
  return isReplaced ? { ...change, isReplaced } : change
}

/** A rename replaces anything but a folder, which may be the user's. */
function refuseFolders({ makes }: Pick<Target, 'makes'>, { auth }: Run): void {
  const folder = makes.find((name) => auth.read(name)?.kind === 'folder')
  if (folder !== undefined)
    throw new Failure(`a folder is in the place of ${auth.path}/${folder}`, {
      remedy: `move it away, then ${runAgain}`,
    })
}
