/**
 * What the keys in encryption-config.yaml mean: their order says how far the rotation of the encryption key has come. Every run
 * reads this; the stages are in encryption-key.ts.
 */
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { type EncryptionKeys, readEncryptionKeys } from '../../lib/kubernetes/encryption.ts'
import { encryptionConfig } from '../tables/files.ts'

/** Undefined without a file, or if it holds no key that can be rotated. */
export function readEncryptionState({ auth }: { readonly auth: AuthDir }): EncryptionKeys | undefined {
  return readEncryptionKeys(String(auth.tryBytes(encryptionConfig.file) ?? ''))
}
