/** The folder auth/ itself, which is no target's: whether others may look into it. */
import type { AuthDir } from '../../lib/files/auth-dir.ts'

/** What a run will mend. */
export function notesOnFolder(auth: AuthDir): string[] {
  // The empty one of a new clone holds nothing that others could read.
  const holds = auth.names().some((name) => !name.startsWith('.'))
  return holds && auth.isWide() ? [`${auth.path} is accessible to others: a run sets its mode to 0700`] : []
}

/** Before anything is written there. */
export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder()) note(`${auth.path} was accessible to others: its mode is now 0700`)
}
