import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const folder = '/run/sshd'
const made = 'made-by-a-lab'

/**
 * Debian's sshd, run by root, locks itself into this folder before a login. Its service makes the folder, but there may be
 * no service. Makes it if it is missing; the function returned removes it again if a lab made it and no
 * other lab uses it. Each lab leaves a mark inside, so that rmdir cannot take it from another.
 */
export async function holdRunFolder(): Promise<() => Promise<void>> {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return async () => {}
  const mark = join(folder, `lab-${process.pid}-${randomUUID()}`)
  do {
    await mkdir(folder, { mode: 0o755 }).then(
      // Another lab that ends may have taken it away again.
      () => writeFile(join(folder, made), '').catch(unless('ENOENT')),
      unless('EEXIST'),
    )
    await writeFile(mark, '').catch(unless('ENOENT'))
  } while (!existsSync(mark))
  return () => release(mark)
}

async function release(mark: string): Promise<void> {
  await rm(mark, { force: true })
  const names = await readdir(folder).catch((): string[] => [])
  const stale = names.filter((name) => name.startsWith('lab-') && !isRunning(Number(name.split('-')[1])))
  await Promise.all(stale.map((name) => rm(join(folder, name), { force: true })))
  if (!names.includes(made) || names.length > stale.length + 1) return
  await rm(join(folder, made), { force: true })
  // Another lab's mark came in between: the folder stays, and is that lab's to remove.
  await rmdir(folder).catch(() => writeFile(join(folder, made), '').catch(unless('ENOENT')))
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function unless(code: string): (error: NodeJS.ErrnoException) => void {
  return (error) => {
    if (error.code !== code) throw error
  }
}
