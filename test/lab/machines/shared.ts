/** What the machines have of this computer, beside its system: what runs there may lie on any of its file systems. */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Path on a machine → path here. */
export function shared(): Record<string, string> {
  const { KUBE_BIN_DIR } = process.env
  return {
    '/opt/lab/node': realpathSync(process.execPath),
    ...(KUBE_BIN_DIR && { '/opt/lab/bin': realpathSync(KUBE_BIN_DIR) }),
  }
}
