/** What the machines have of this computer, beside its system: it may lie on any of its file systems. */
import { execFileSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import versions from '../versions.json' with { type: 'json' }

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Where real kube-* lie on a machine, when KUBE_BIN_DIR names a folder with them. */
export const realBinaries = process.env.KUBE_BIN_DIR && '/opt/lab/bin'

/** `1.36`: of what runs on the machines. */
export const kubernetesVersion = readVersion()

function readVersion(): string {
  const { KUBE_BIN_DIR } = process.env
  if (!KUBE_BIN_DIR) return versions.standIn
  const printed = execFileSync(join(KUBE_BIN_DIR, 'kubelet'), ['--version'], { encoding: 'utf8' })
  return /^Kubernetes v(\d+\.\d+)\./.exec(printed)?.[1] ?? printed
}

/** Whether what runs on the machines is of that release, or of a later one. */
export function isSince(release: string): boolean {
  const minor = (version: string) => Number(version.split('.')[1])
  return minor(kubernetesVersion) >= minor(release)
}

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
