/**
 * Before each test file: properties are tried with the same values every time (what is new is looked for by `npm run
 * test:long`), and texts have no colours, which Node's test runner asks for where its own output is a terminal. What is
 * compiled is kept for the next file, in the program's own cache (tasks/main.js); processes that a test starts use it
 * too.
 */
import module from 'node:module'
import { join } from 'node:path'

process.env.FAST_CHECK_SEED = '1'
const folder = join(import.meta.dirname, '../../node_modules/.cache/compile')
module.enableCompileCache(folder)
process.env.NODE_COMPILE_CACHE ??= folder
delete process.env.FORCE_COLOR
