/**
 * What the keys in encryption-config.yaml mean: their order says how far the rotation of the encryption key has come. Every run
 * reads this; the stages are in encryption-key.ts.
 */
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { type EncryptionKeys, numberOf, readEncryptionKeys } from '../../lib/kubernetes/encryption.ts'
import { encryptionConfig } from '../tables/files.ts'

export interface EncryptionState extends EncryptionKeys {
  /**
   * `settled`: one key. `added`: the newest key decrypts, and does not encrypt yet. `first`: the newest key encrypts, and the
   * previous ones decrypt. The keys may be of different providers.
   */
  readonly stage: 'settled' | 'added' | 'first'
}

/** Undefined without a file, or if it holds no key that can be rotated. */
export function readEncryptionState({ auth }: { readonly auth: AuthDir }): EncryptionState | undefined {
  const text = auth.tryBytes(encryptionConfig.file)?.toString()
  const keys = text === undefined ? undefined : readEncryptionKeys(text)
  return keys && { ...keys, stage: stageOf(keys) }
}

function stageOf({ keys, newest }: EncryptionKeys): EncryptionState['stage'] {
  if (keys.length === 1) return 'settled'
  return numberOf(newest) > numberOf(keys[0]) ? 'added' : 'first'
}
