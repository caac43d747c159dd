/** Files that are taken up when they change: inotify on their folders, as a rename replaces them, and once a minute. */
import { readFileSync, watch } from 'node:fs'
import { dirname } from 'node:path'

/** `load` is called at once, where it may throw, and at each change, where it keeps what it had and says why. */
export function watchFiles(paths: readonly string[], load: (contents: readonly Buffer[]) => void, poll = 60_000): void {
  const read = () => paths.map((path) => readFileSync(path))
  let seen = read()
  load(seen)
  const look = () => {
    try {
      const now = read()
      if (now.every((content, i) => seen[i]?.equals(content))) return
      seen = now
      load(now)
      log(`Loaded ${paths.join(' and ')}`)
    } catch (error) {
      log(`Keeping what was loaded of ${paths.join(' and ')}: ${error}`)
    }
  }
  for (const folder of new Set(paths.map(dirname))) watch(folder, look)
  setInterval(look, poll)
}

export function log(text: string): void {
  process.stderr.write(`${text}\n`)
}
