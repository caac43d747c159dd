/** Certificates with one thing altered, byte for byte, and then signed again: as another tool, or an attacker, may have made them. */
import { type KeyObject, sign } from 'node:crypto'
import { elements } from './der.ts'

/** DER of the fields inside the tbsCertificate, in their order. */
export interface Parts {
  version: Buffer
  serialNumber: Buffer
  algorithm: Buffer
  issuer: Buffer
  validity: Buffer
  subject: Buffer
  publicKey: Buffer
  /** One a row, without the list around them. */
  extensions: Buffer[]
}

export interface Signed {
  readonly key: KeyObject
  readonly hash?: string
}

export function element(tag: number, ...contents: readonly (Buffer | string)[]): Buffer {
  const content = Buffer.concat(contents.map((each) => (typeof each === 'string' ? Buffer.from(each, 'latin1') : each)))
  const { length } = content
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), content])
}

export const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
export const sequence = (...contents: readonly Buffer[]): Buffer => element(0x30, ...contents)
export const oid = (hex: string): Buffer => element(0x06, bytes(hex))

/** Of a name: one set with one attribute. */
export const attribute = (id: string, tag: number, value: string): Buffer =>
  element(0x31, sequence(oid(id), element(tag, Buffer.from(value))))

export function extension(id: string, value: Buffer, critical?: string): Buffer {
  return sequence(oid(id), ...(critical ? [element(0x01, bytes(critical))] : []), element(0x04, value))
}

/** Another value of an extension that is there, and whether it is critical. */
export const instead = (id: string, value: (old: Buffer) => Buffer, critical?: string) => (parts: Parts) => ({
  extensions: parts.extensions.map((each) => {
    const all = elements(elements(each)[0]?.content ?? Buffer.alloc(0))
    if (!all[0]?.whole.equals(oid(id))) return each
    return extension(
      id,
      value(all.at(-1)?.content ?? Buffer.alloc(0)),
      critical ?? (all.length > 2 ? all[1]?.content.toString('hex') : undefined),
    )
  }),
})
/** One more extension. */
export const more = (id: string, value: Buffer, critical?: string) => (parts: Parts) => ({
  extensions: [...parts.extensions, extension(id, value, critical)],
})

/** DER of the certificate with what `alter` changed in its parts. */
export function altered(certificate: Buffer, alter: (parts: Parts) => Partial<Parts>, signed: Signed): Buffer {
  const [tbs] = elements(elements(certificate)[0]?.content ?? Buffer.alloc(0))
  const [version, serialNumber, algorithm, issuer, validity, subject, publicKey, tagged] = elements(
    tbs?.content ?? Buffer.alloc(0),
  ).map(({ whole }) => whole)
  if (!version || !serialNumber || !algorithm || !issuer || !validity || !subject || !publicKey || !tagged)
    throw new RangeError('not a certificate of version 3')
  const list = elements(elements(tagged)[0]?.content ?? Buffer.alloc(0))[0]
  const extensions = elements(list?.content ?? Buffer.alloc(0)).map(({ whole }) => whole)
  const parts: Parts = { version, serialNumber, algorithm, issuer, validity, subject, publicKey, extensions }
  const { extensions: last, ...first } = { ...parts, ...alter(parts) }
  const whole = sequence(...Object.values(first), element(0xa3, sequence(...last)))
  const signature = sign(signed.hash ?? 'sha256', whole, signed.key)
  return sequence(whole, first.algorithm, element(0x03, bytes('00'), signature))
}
