/**
 * Conditions of CEL by which an authorizer meets requests: of users, and of the certificates that they show.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import type { Shown } from './revoked-list.ts'

/** Of names: none of these means anything in a comment, in YAML or in CEL. */
const characters = '\\w.:@-'
/**
 * Any other character is its code point, as CEL has it:
 * https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values
 */
export const escaped = (text: string): string =>
  text.replaceAll(
    new RegExp(`[^${characters}]`, 'gu'),
    (char) => `\\U${(char.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`,
  )
const codePoint = '\\\\U(00(?:0[0-9a-f]|10)[0-9a-f]{4})'
export const unescaped = (text: string): string =>
  text.replaceAll(new RegExp(codePoint, 'g'), (_, digits) => String.fromCodePoint(Number.parseInt(digits, 16)))
export const plain = `(?:[${characters}]|${codePoint.replace('(', '(?:')})+`

/**
 * Of a user, whose certificate the API server names there:
 * https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/
 */
const credentialId = 'authentication.kubernetes.io/credential-id'
const credentialPrefix = 'X509SHA256='

/** Strings of CEL, in an expression that has double quotes of YAML: both read two backslashes as one. */
const quoted = (values: readonly string[]) =>
  values.map((each) => `'${escaped(each).replaceAll('\\', '\\\\')}'`).join(', ')
const credentials = (certificates: readonly Pick<Shown, 'fingerprint'>[]) =>
  certificates.map(({ fingerprint }) => `'${credentialPrefix}${fingerprint}'`).join(', ')
const shows = (condition: string) =>
  `has(request.extra) && '${credentialId}' in request.extra && request.extra['${credentialId}'].exists(id, ${condition})`

export const isOneOf = (users: readonly string[]): string => `request.user in [${quoted(users)}]`

/** A request with one of these certificates. */
export const showsOneOf = (certificates: readonly Pick<Shown, 'fingerprint'>[]): string =>
  shows(`id in [${credentials(certificates)}]`)

/** A request with a certificate that is none of these; without a credential-id there is no certificate. */
export const showsAnother = (good: readonly Shown[]): string =>
  shows(`id.startsWith('${credentialPrefix}') && !(id in [${credentials(good)}])`)
