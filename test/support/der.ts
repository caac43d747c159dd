/** Takes DER apart, apart from lib's own reader: what is compared must not hang on the code that is judged. */
export interface Element {
  readonly tag: number
  readonly content: Buffer
  /** With tag and length. */
  readonly whole: Buffer
}

/** The elements one after the other; throws where the bytes end within one. */
export function elements(bytes: Buffer): Element[] {
  if (bytes.length === 0) return []
  const short = bytes.readUInt8(1)
  const lengthBytes = short < 0x80 ? 0 : short - 0x80
  const start = 2 + lengthBytes
  const end = start + (lengthBytes === 0 ? short : bytes.readUIntBE(2, lengthBytes))
  if (end > bytes.length) throw new RangeError('DER that is cut short')
  const first = { tag: bytes.readUInt8(0), content: bytes.subarray(start, end), whole: bytes.subarray(0, end) }
  return [first, ...elements(bytes.subarray(end))]
}

/** The element at the end of a path of positions: [0, 3] is the fourth one inside the first. */
export function elementAt(bytes: Buffer, ...path: readonly number[]): Element {
  const [position = 0, ...rest] = path
  const found = elements(bytes).at(position)
  if (!found) throw new RangeError('DER without such an element')
  return rest.length === 0 ? found : elementAt(found.content, ...rest)
}

/** The extensions of an X.509 certificate, in its order. */
export function extensions(certificate: Buffer): { id: string; isCritical: boolean; value: Buffer }[] {
  return elements(elementAt(certificate, 0, 0, -1, 0).content).map(({ content }) => {
    const [id, ...rest] = elements(content)
    const value = rest.at(-1)
    if (!id || !value) throw new RangeError('an extension without an id or a value')
    return { id: id.content.toString('hex'), isCritical: rest.length > 1, value: value.content }
  })
}
