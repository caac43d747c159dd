/** What the machines have of this computer, beside its system: it may lie on any of its file systems. */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Where real kube-* lie on a machine, when KUBE_BIN_DIR names a folder with them. */
export const realBinaries = process.env.KUBE_BIN_DIR && '/opt/lab/bin'

/** Of the stand-in, one for all machines of a test. */
export const compileCache = '/opt/lab/compile-cache'

/** Path on a machine → path here. */
export function shared(): Record<string, string> {
  const { KUBE_BIN_DIR } = process.env
  return {
    '/opt/lab/node': realpathSync(process.execPath),
    '/opt/lab/component': here('../component'),
    '/opt/lab/node_modules/yaml': here('../../../node_modules/yaml'),
    ...(KUBE_BIN_DIR && { '/opt/lab/bin': realpathSync(KUBE_BIN_DIR) }),
  }
}
