/**
 * NaCl's secretbox, for the stand-in alone: XSalsa20 and Poly1305, which node:crypto does not have. Not constant in time.
 * https://cr.yp.to/snuffle/xsalsa-20110204.pdf, https://nacl.cr.yp.to/secretbox.html
 */
import { timingSafeEqual } from 'node:crypto'

/** "expand 32-byte k" */
const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const
/** The quarter rounds of a double round: columns, then rows. */
const quarters = [
  ...[
    [0, 4, 8, 12],
    [5, 9, 13, 1],
    [10, 14, 2, 6],
    [15, 3, 7, 11],
  ],
  ...[
    [0, 1, 2, 3],
    [5, 6, 7, 4],
    [10, 11, 8, 9],
    [15, 12, 13, 14],
  ],
] as const

/** 24 bytes of nonce, 32 of key. The tag comes first, as in Go's nacl/secretbox. */
export function sealBox(message: Buffer, nonce: Buffer, key: Buffer): Buffer {
  const { pad, tagKey } = padFor(message.length, nonce, key)
  const sealed = xor(message, pad)
  return Buffer.concat([poly1305(sealed, tagKey), sealed])
}

/** Throws if the key or the nonce is another one, or the box was changed. */
export function openBox(box: Buffer, nonce: Buffer, key: Buffer): Buffer {
  const [tag, sealed] = [box.subarray(0, 16), box.subarray(16)]
  const { pad, tagKey } = padFor(sealed.length, nonce, key)
  if (tag.length < 16 || !timingSafeEqual(tag, poly1305(sealed, tagKey))) throw new Error('the box does not open')
  return xor(sealed, pad)
}

function xor(one: Buffer, other: Buffer): Buffer {
  return Buffer.from(one.map((byte, i) => byte ^ (other[i] ?? 0)))
}

/** The first 32 bytes of the stream are the key of the tag. */
function padFor(length: number, nonce: Buffer, key: Buffer): { pad: Buffer; tagKey: Buffer } {
  const subkey = hsalsa20(key, nonce.subarray(0, 16))
  const blocks = Array.from({ length: Math.ceil((length + 32) / 64) }, (_, i) => {
    const counter = Buffer.alloc(8)
    counter.writeUInt32LE(i)
    return salsa20(subkey, Buffer.concat([nonce.subarray(16), counter]))
  })
  const stream = Buffer.concat(blocks)
  return { tagKey: stream.subarray(0, 32), pad: stream.subarray(32) }
}

function salsa20(key: Buffer, input: Buffer): Buffer {
  const start = stateOf(key, input)
  return bytesOf(rounds(start).map((word, i) => word + (start[i] ?? 0)))
}

function hsalsa20(key: Buffer, input: Buffer): Buffer {
  const end = rounds(stateOf(key, input))
  return bytesOf(Uint32Array.from([0, 5, 10, 15, 6, 7, 8, 9], (i) => end[i] ?? 0))
}

function stateOf(key: Buffer, input: Buffer): Uint32Array {
  const words = (bytes: Buffer) => Array.from({ length: 4 }, (_, i) => bytes.readUInt32LE(i * 4))
  const [a, b, c, d] = constants
  return Uint32Array.from([a, ...words(key.subarray(0, 16)), b, ...words(input), c, ...words(key.subarray(16)), d])
}

function rounds(start: Uint32Array): Uint32Array {
  const state = Uint32Array.from(start)
  const at = (i: number) => state[i] ?? 0
  const step = (to: number, from: number, other: number, bits: number) => {
    const sum = (at(from) + at(other)) | 0
    state[to] = at(to) ^ ((sum << bits) | (sum >>> (32 - bits)))
  }
  for (let i = 0; i < 10; i++)
    for (const [a, b, c, d] of quarters) {
      step(b, a, d, 7)
      step(c, b, a, 9)
      step(d, c, b, 13)
      step(a, d, c, 18)
    }
  return state
}

function bytesOf(words: Uint32Array): Buffer {
  const bytes = Buffer.alloc(words.length * 4)
  for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, i * 4)
  return bytes
}

/** RFC 8439, section 2.5. */
function poly1305(message: Buffer, key: Buffer): Buffer {
  const prime = (1n << 130n) - 5n
  const r = numberOf(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let i = 0; i < message.length; i += 16) {
    const block = message.subarray(i, i + 16)
    sum = ((sum + numberOf(block) + (1n << BigInt(8 * block.length))) * r) % prime
  }
  const tag = (sum + numberOf(key.subarray(16))) & ((1n << 128n) - 1n)
  return Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse()
}

/** Little-endian. */
function numberOf(bytes: Buffer): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
}
