/**
 * Preloaded by runs on machines: a unit that was restarted has to stay healthy for 1 s in place of 10 before the next node's turn.
 * install.test.ts and steady.test.ts do without it.
 */
import { hold } from '../../tasks/nodes/steady.ts'

hold.shortest = 1
