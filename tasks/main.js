#!/usr/bin/env node
// Plain JavaScript, so that a Node too old to run harderway can still run this and report it.
import module from 'node:module'
import os from 'node:os'
import { join } from 'node:path'

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  process.stderr.write(
    `harderway needs Node 24 or later, and ${process.execPath} is ${process.version}.
In a clone "npm ci" brings one for npm run. For the package, install one and put it first on the PATH.
`,
  )
  process.exit(2)
}
// Keys are made on libuv's threads, of which there are four unless this is set before it starts the first.
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, os.availableParallelism()))
module.enableCompileCache(join(String(module.findPackageJSON(import.meta.url)), '../node_modules/.cache/compile'))
const { main } = await import('./cli.ts')
const { processHost } = await import('./run/host.ts')
process.exitCode = await main(process.argv.slice(2), processHost)
