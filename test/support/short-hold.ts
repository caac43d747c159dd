/**
 * Preloaded by runs on machines: a unit that was restarted has to stay healthy for 1 s in place of 10 before the next node's turn. The stand-in
 * reads what its kubeconfig names every 5 s in place of 300.
 * install.test.ts and steady.test.ts do without it.
 */
import { hold } from '../../tasks/nodes/install.ts'
import { polling } from '../../tasks/nodes/units.ts'

hold.shortest = 1
if (process.env.KUBE_BIN_DIR === undefined) polling.seconds = 7
