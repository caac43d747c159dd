/** An entry of `revoked`: the name of a user or node that is gone, or a certificate's fingerprint, by which its key is cut off. */

const keyPrefix = 'sha256:'

/** True for a fingerprint. */
export const isKeyEntry = (entry: string): boolean => entry.startsWith(keyPrefix)

export const entryOf = (fingerprint: string): string => keyPrefix + fingerprint

/** `sha256:3f2a…`, of that, of what `openssl x509 -fingerprint -sha256` prints, or of what an audit log has; any other text stays. */
export function readEntry(text: string): string {
  const [, digits = ''] = /^(?:sha256:|sha256 fingerprint=|x509sha256=)([0-9a-f:]+)$/i.exec(text) ?? []
  const fingerprint = digits.replaceAll(':', '').toLowerCase()
  return fingerprint.length === 64 ? entryOf(fingerprint) : text
}
