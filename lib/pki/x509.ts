/**
 * Makes X.509 certificates (RFC 5280): node-forge writes the ASN.1, node:crypto does the mathematics.
 * The profile is cfssl's for the guide's requests, so that both kinds can be used side by side.
 */

import { createPublicKey, generateKeyPair, hash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { promisify } from 'node:util'
import type { asn1 as Asn1Module } from 'node-forge'
import asn1 from 'node-forge/lib/asn1.js'
import { addressBytes } from '../address.ts'
import type { KeyKind } from '../cluster/cluster.ts'
import {
  type Certificate,
  type CertSpec,
  ellipticCurves,
  enciphersKeys,
  keyKindOf,
  type Subject,
  subjectOrder,
  usagesOf,
} from './certificate.ts'
import { certificatePem, inside, oids, readDer } from './encoding.ts'

type Asn1 = Asn1Module.Asn1

export interface Issuer {
  readonly certificate: Certificate
  readonly privateKey: KeyObject
}

interface CertificateRequest {
  readonly profile: CertSpec
  readonly publicKey: KeyObject
  readonly notBefore: Date
  readonly notAfter: Date
  /** A certificate of the same key, whose subject and key identifier stay, byte for byte: chains are built on them. */
  readonly named?: Certificate | undefined
}

const rsaBits = { 'rsa-2048': 2048, 'rsa-3072': 3072, 'rsa-4096': 4096 } as const
const generate = promisify(generateKeyPair)

/** A new private key, made on libuv's thread pool. */
export async function generatePrivateKey(kind: KeyKind): Promise<KeyObject> {
  const pair =
    kind === 'ecdsa-p256' || kind === 'ecdsa-p384'
      ? await generate('ec', { namedCurve: ellipticCurves[kind] })
      : await generate('rsa', { modulusLength: rsaBits[kind] })
  return pair.privateKey
}

/** `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC 1), as cfssl writes them. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: key.asymmetricKeyType === 'ec' ? 'sec1' : 'pkcs1', format: 'pem' }).toString()
}

export function issueCertificate(request: CertificateRequest, { certificate, privateKey }: Issuer): string {
  const keyId = certificate.subjectKeyId ?? subjectKeyId(certificate.publicKey)
  return signCertificate(request, { subject: certificate.subject, keyId, privateKey })
}

export function selfSign(request: Omit<CertificateRequest, 'publicKey'>, privateKey: KeyObject): string {
  return signCertificate({ ...request, publicKey: createPublicKey(privateKey) }, { privateKey })
}

/** Without a subject of the issuer it signs itself. */
function signCertificate(
  { profile, publicKey, notBefore, notAfter, named }: CertificateRequest,
  issuer: { readonly subject?: Buffer; readonly keyId?: Buffer; readonly privateKey: KeyObject },
): string {
  const subject = named?.subject ?? encodeSubject(profile.subject)
  const keyId = named?.subjectKeyId ?? subjectKeyId(publicKey)
  const algorithm = signatureAlgorithm(issuer.privateKey)
  const tbs = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    algorithm.identifier,
    asn1.fromDer(binary(issuer.subject ?? subject)),
    sequence(time(notBefore), time(notAfter)),
    asn1.fromDer(binary(subject)),
    asn1.fromDer(binary(publicKey.export({ type: 'spki', format: 'der' }))),
    explicit(3, sequence(...extensions(profile, keyId, issuer.keyId))),
  )
  const signature = sign(algorithm.hash, bytesOf(tbs), issuer.privateKey)
  return certificatePem(bytesOf(sequence(tbs, algorithm.identifier, bitString(signature))))
}

/** SHA-1 of the bits of the public key: method 1 of RFC 5280, 4.2.1.2. */
export function subjectKeyId(publicKey: KeyObject): Buffer {
  const [, bits] = inside(readDer(publicKey.export({ type: 'spki', format: 'der' }))[0])
  return hash('sha1', bits?.content.subarray(1) ?? '', 'buffer')
}

export function encodeSubject(subject: Subject): Buffer {
  const attributes = subjectOrder.flatMap((name) =>
    [subject[name] ?? []].flat().map((value) => set(sequence(oid(oids[name]), directoryString(value)))),
  )
  return bytesOf(sequence(...attributes))
}

function extensions(profile: CertSpec, keyId: Uint8Array, authorityKeyId: Uint8Array | undefined): Asn1[] {
  const extension = (id: string, value: Asn1, critical = false) =>
    sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(bytesOf(value)))
  const { sans, isCa } = profile
  const list = [extension(oids.keyUsage, keyUsage(isCa ? [5, 6] : enciphersKeys(profile) ? [0, 2] : [0]), true)]
  if (!isCa) list.push(extension(oids.extKeyUsage, sequence(...usagesOf(profile).map(oid))))
  // The default, false, is left out of the value: DER.
  list.push(extension(oids.basicConstraints, sequence(...(isCa ? [boolean(true)] : [])), true))
  list.push(extension(oids.subjectKeyIdentifier, octets(keyId)))
  if (authorityKeyId) list.push(extension(oids.authorityKeyIdentifier, sequence(implicit(0, authorityKeyId))))
  if (sans.length > 0) list.push(extension(oids.subjectAltName, sequence(...generalNames(sans))))
  return list
}

/** DNS names first, then addresses, as Go writes them. */
function generalNames(sans: readonly string[]): Asn1[] {
  const addresses = sans.flatMap((san) => addressBytes(san) ?? [])
  const names = sans.filter((san) => addressBytes(san) === undefined)
  return [...names.map((name) => implicit(2, Buffer.from(name))), ...addresses.map((bytes) => implicit(7, bytes))]
}

/** Named bits, numbered from the left; trailing zero bits are left out: DER. */
function keyUsage(bits: readonly number[]): Asn1 {
  const byte = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0)
  const unused = 7 - Math.max(...bits)
  return primitive(asn1.Type.BITSTRING, Buffer.from([unused, byte]))
}

/** 20 bytes, positive and minimal: Go refuses others, RFC 5280 allows no more. */
function serialNumber(): Buffer {
  const bytes = randomBytes(20)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes
}

function signatureAlgorithm(key: KeyObject): { hash: string; identifier: Asn1 } {
  const kind = keyKindOf(key)
  const isEc = kind.startsWith('ecdsa')
  const bits = { 'rsa-3072': 384, 'rsa-4096': 512, 'ecdsa-p384': 384 }[kind] ?? 256
  const id = oids[`${isEc ? 'ecdsa' : 'rsa'}WithSha${bits as 256 | 384 | 512}`]
  // RFC 4055: NULL for RSA; RFC 5758: nothing for ECDSA.
  return {
    hash: `sha${bits}`,
    identifier: isEc ? sequence(oid(id)) : sequence(oid(id), primitive(asn1.Type.NULL, Buffer.alloc(0))),
  }
}

/** UTCTime up to 2049, GeneralizedTime from 2050 on: RFC 5280, 4.1.2.5. */
function time(date: Date): Asn1 {
  const digits = `${date.toISOString().replace(/\.\d+|[-:T]/g, '')}`
  return date.getUTCFullYear() < 2050
    ? primitive(asn1.Type.UTCTIME, Buffer.from(digits.slice(2)))
    : primitive(asn1.Type.GENERALIZEDTIME, Buffer.from(digits))
}

function directoryString(value: string): Asn1 {
  const isPrintable = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value)
  return primitive(isPrintable ? asn1.Type.PRINTABLESTRING : asn1.Type.UTF8, Buffer.from(value))
}

const binary = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
const bytesOf = (value: Asn1) => Buffer.from(asn1.toDer(value).getBytes(), 'latin1')
const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class
const constructed = (type: Asn1Module.Type, values: Asn1[]) => asn1.create(UNIVERSAL, type, true, values)
const primitive = (type: Asn1Module.Type, bytes: Uint8Array) => asn1.create(UNIVERSAL, type, false, binary(bytes))
const sequence = (...values: Asn1[]) => constructed(asn1.Type.SEQUENCE, values)
const set = (...values: Asn1[]) => constructed(asn1.Type.SET, values)
const oid = (id: string) => primitive(asn1.Type.OID, Buffer.from(id, 'hex'))
const integer = (bytes: Uint8Array) => primitive(asn1.Type.INTEGER, bytes)
const boolean = (value: boolean) => primitive(asn1.Type.BOOLEAN, Buffer.from([value ? 0xff : 0]))
const octets = (bytes: Uint8Array) => primitive(asn1.Type.OCTETSTRING, bytes)
const bitString = (bytes: Uint8Array) => primitive(asn1.Type.BITSTRING, Buffer.concat([Buffer.from([0]), bytes]))
const explicit = (tag: number, value: Asn1) => asn1.create(CONTEXT_SPECIFIC, tag as Asn1Module.Type, true, [value])
const implicit = (tag: number, bytes: Uint8Array) =>
  asn1.create(CONTEXT_SPECIFIC, tag as Asn1Module.Type, false, binary(bytes))
