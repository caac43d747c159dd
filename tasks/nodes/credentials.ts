/** With what a component is asked. */
import { caName, certificateFile, keyFile } from '../../lib/files/names.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import type { Credentials } from '../../lib/tls/probe.ts'

/** Undefined where auth/ has none of that name. */
export function credentialsOf({ auth }: Pick<Workspace, 'auth'>, name: string): Credentials | undefined {
  const [certificate, key] = [auth.tryBytes(certificateFile(name)), auth.tryBytes(keyFile(name))]
  return certificate && key && { certificate, key }
}

/** PEM. Throws a Failure where there is no CA. */
export function trustOf({ auth }: Pick<Workspace, 'auth'>): Buffer {
  return auth.bytes(certificateFile(caName))
}
