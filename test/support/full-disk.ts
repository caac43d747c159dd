/** A disk with little room left. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'

const page = 4096

/** Makes a file that takes all the room there is, but for so many pages. */
export function fill(path: string, pages: number): void {
  const fd = openSync(path, 'w')
  let size = 0
  try {
    for (;;) size += writeSync(fd, Buffer.alloc(page))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
    ftruncateSync(fd, Math.max(size - pages * page, 0))
  } finally {
    closeSync(fd)
  }
}

if (import.meta.main) fill(process.argv[2] ?? '', Number(process.argv[3]))
