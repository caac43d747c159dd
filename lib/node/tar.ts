/** An archive of plain files (POSIX ustar), so that any number of files goes to a node in a single copy. */
const block = 512

export interface ArchivedFile {
  /** At most 100 bytes. */
  readonly name: string
  readonly mode: number
  readonly bytes: Buffer
}

export function buildTar(files: readonly ArchivedFile[]): Buffer {
  const parts = files.flatMap((file) => [header(file), file.bytes, Buffer.alloc(-file.bytes.length & (block - 1))])
  return Buffer.concat([...parts, Buffer.alloc(2 * block)])
}

function header({ name, mode, bytes }: ArchivedFile): Buffer {
  const head = Buffer.alloc(block)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  head.write(name, 0)
  head.write(octal(mode, 8), 100)
  head.write(octal(0, 8) + octal(0, 8) + octal(bytes.length, 12) + octal(0, 12), 108)
  // The checksum is computed with its own field as spaces.
  head.write(' '.repeat(8), 148)
  head.write('0', 156)
  head.write('ustar\x0000', 257)
  head.write(
    `${octal(
      head.reduce((sum, byte) => sum + byte, 0),
      7,
    )} `,
    148,
  )
  return head
}
