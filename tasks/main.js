#!/usr/bin/env node
// Plain JavaScript, so that a Node too old to run TypeScript reads it and says so.
import module from 'node:module'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  process.stderr.write(
    `harderway needs Node 24 or later, and this is ${process.version}: npm brings one with it, for npm run and npx, unless optional dependencies are omitted\n`,
  )
  process.exit(2)
}
// Keys are made on libuv's threads, of which there are four unless it is told otherwise before it makes the first.
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism()))
module.enableCompileCache(join(String(module.findPackageJSON(import.meta.url)), '../node_modules/.cache/compile'))
const { main } = await import('./cli.ts')
const { processHost } = await import('./request/host.ts')
process.exitCode = await main(process.argv.slice(2), processHost)
