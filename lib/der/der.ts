/** Reads DER (X.690) in place: a certificate is taken apart without copying or naming what nobody asks for. */
export interface Der {
  readonly tag: number
  readonly content: Buffer
  /** Tag, length and content. */
  readonly bytes: Buffer
}

/** The elements that stand one after the other in the bytes. Throws a RangeError where they are no DER. */
export function readDer(bytes: Buffer): Der[] {
  const elements: Der[] = []
  for (let at = 0; at < bytes.length; ) {
    const element = elementAt(bytes, at)
    elements.push(element)
    at += element.bytes.length
  }
  return elements
}

/** The elements inside a constructed one. */
export function inside(element: Der | undefined): Der[] {
  if (!element) throw new RangeError('an element is missing')
  return readDer(element.content)
}

/** Its content, to compare OIDs and other short values with. */
export const hex = ({ content }: Der): string => content.toString('hex')

/** The bits of a BIT STRING; its first byte counts the unused ones. */
export function bitsOf(element: Der | undefined): Buffer {
  if (element?.tag !== 0x03) throw new RangeError('no BIT STRING')
  return element.content.subarray(1)
}

function elementAt(bytes: Buffer, at: number): Der {
  const tag = bytes.readUInt8(at)
  if ((tag & 0x1f) === 0x1f) throw new RangeError('a tag of several bytes')
  const first = bytes.readUInt8(at + 1)
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f
  if (lengthBytes > 4 || first === 0x80) throw new RangeError('a length that DER does not have')
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes)
  // In the fewest bytes: X.690, 10.1.
  if (lengthBytes > 0 && (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1))))
    throw new RangeError('a length that DER does not have')
  const start = at + 2 + lengthBytes
  if (start + length > bytes.length) throw new RangeError('an element is cut short')
  return {
    tag,
    content: bytes.subarray(start, start + length),
    bytes: bytes.subarray(at, start + length),
  }
}
