/**
 * Loaded by --import: leaves the URLs of the files that were loaded after it in loaded.json, in the folder of the
 * process.
 */
import { writeFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const urls: string[] = []
registerHooks({
  load(url, context, nextLoad) {
    urls.push(url)
    return nextLoad(url, context)
  },
})
process.on('exit', () => writeFileSync('loaded.json', JSON.stringify(urls.filter((url) => url.startsWith('file:')))))
