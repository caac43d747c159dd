/** A folder for one test, gone after it. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export function scratch(t: { after(work: () => void): void }): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'harderway-test-')))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
