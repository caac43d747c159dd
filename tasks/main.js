// Plain JavaScript, so that a Node too old to run TypeScript reads it and says so.
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  process.stderr.write(
    `harderway needs Node 24 or later, and this is ${process.version}: npm ci brings one, for npm run\n`,
  )
  process.exit(2)
}
module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/compile', import.meta.url)))
const { main } = await import('./cli.ts')
process.exitCode = await main(process.argv.slice(2))
