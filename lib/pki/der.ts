/** Reads DER (X.690) in place: a certificate is parsed without copying or naming what is not used. */
export class Der {
  readonly tag: number
  readonly #source: Buffer
  readonly #begin: number
  readonly #contentBegin: number
  readonly #end: number

  /** The element that begins there, and ends before `limit`. Throws a RangeError if it is not DER. */
  constructor(source: Buffer, begin: number, limit: number) {
    const [tag, first] = [source[begin] ?? 0, source[begin + 1] ?? 0]
    if (begin + 2 > limit) throw new RangeError('an element is cut short')
    if ((tag & 0x1f) === 0x1f) throw new RangeError('a tag of several bytes')
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    if (lengthBytes > 4 || first === 0x80) throw new RangeError('a length that DER does not have')
    const start = begin + 2 + lengthBytes
    if (start > limit) throw new RangeError('an element is cut short')
    const length = lengthBytes === 0 ? first : source.readUIntBE(begin + 2, lengthBytes)
    // In the fewest bytes: X.690, 10.1.
    if (lengthBytes > 0 && (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1))))
      throw new RangeError('a length that DER does not have')
    if (start + length > limit) throw new RangeError('an element is cut short')
    this.tag = tag
    this.#source = source
    this.#begin = begin
    this.#contentBegin = start
    this.#end = start + length
  }

  get content(): Buffer {
    return this.#source.subarray(this.#contentBegin, this.#end)
  }

  /** Tag, length and content. */
  get bytes(): Buffer {
    return this.#source.subarray(this.#begin, this.#end)
  }

  /** The elements that follow each other between the two offsets. */
  static all(source: Buffer, begin: number, end: number): Der[] {
    const elements: Der[] = []
    for (let at = begin; at < end; ) {
      const element = new Der(source, at, end)
      elements.push(element)
      at = element.#end
    }
    return elements
  }

  /** The elements inside a constructed one. */
  inside(): Der[] {
    return Der.all(this.#source, this.#contentBegin, this.#end)
  }
}

/** The elements that follow each other in the bytes. Throws a RangeError if they are not DER. */
export function readDer(bytes: Buffer): Der[] {
  return Der.all(bytes, 0, bytes.length)
}

/** Throws a RangeError if the element is another, or missing. */
export function expect(element: Der | undefined, tag: number): Der {
  if (element?.tag !== tag) throw new RangeError(`no element with the tag ${tag}`)
  return element
}

/** The elements inside a constructed one. Throws a RangeError if they are not DER, or if the element is another, or missing. */
export function inside(element: Der | undefined, tag = element?.tag ?? 0): Der[] {
  return expect(element, tag).inside()
}

/** Its content, to compare OIDs and other short values with. */
export const hex = ({ content }: Der): string => content.toString('hex')

/** The bits of a BIT STRING; its first byte counts the unused ones. */
export function bitsOf(element: Der | undefined): Buffer {
  return expect(element, 0x03).content.subarray(1)
}
