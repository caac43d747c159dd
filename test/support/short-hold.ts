/**
 * Preloaded by runs on machines: a unit that was restarted has to stay healthy for 1 s in place of 10 before the next
 * node's turn, and all else is as it is shipped. Tests of these 10 s do without it: install.test.ts, steady.test.ts.
 */
import { registerHooks } from 'node:module'

const hold = 'const shortest = 10\n'

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/tasks/nodes/steady.ts')) return loaded
    const { source } = loaded
    const text = typeof source === 'string' ? source : new TextDecoder().decode(source ?? undefined)
    if (!text.includes(hold)) throw new Error(`short-hold.ts finds no "${hold.trim()}" in ${url}`)
    return { ...loaded, source: text.replace(hold, 'const shortest = 1\n') }
  },
})
