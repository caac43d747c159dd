/** What a terminal of 80 by 24 shows of a program's output, over time. Pure. */
import xterm from '@xterm/headless'

export const columns = 80
export const rows = 24

/** As the program wrote it; a character may be cut by its end. */
export interface Chunk {
  readonly seconds: number
  readonly data: string | Uint8Array
}

/** Text in one style, from a column on. */
export interface Run {
  readonly column: number
  readonly text: string
  /** One of the terminal's eight colours; undefined for its default. */
  readonly colour: number | undefined
  readonly isDim: boolean
  readonly isBold: boolean
}

export interface Frame {
  readonly seconds: number
  readonly lines: readonly (readonly Run[])[]
}

/** Less than this nobody sees: it is in the middle of a redraw. */
const settled = 0.01
/** Frames closer than this become one. */
const closest = 0.2

/** Seconds must not decrease. Throws at a style that the tree does not use. */
export async function readFrames(chunks: readonly Chunk[]): Promise<Frame[]> {
  const terminal = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true })
  const frames: Frame[] = []
  for (const [i, { seconds, data }] of chunks.entries()) {
    await new Promise<void>((resolve) => terminal.write(data, resolve))
    if ((chunks[i + 1]?.seconds ?? Number.POSITIVE_INFINITY) - seconds < settled) continue
    const lines = Array.from({ length: rows }, (_, row) => readLine(terminal, row))
    const last = frames.at(-1)
    if (last === undefined || seconds - last.seconds >= closest) frames.push({ seconds, lines })
    else frames[frames.length - 1] = { seconds: last.seconds, lines }
  }
  terminal.dispose()
  return frames
}

/** Without the blanks around its runs. */
function readLine(terminal: xterm.Terminal, row: number): Run[] {
  const { active } = terminal.buffer
  const line = active.getLine(active.baseY + row)
  const runs: Run[] = []
  for (let column = 0; column < columns; column++) {
    const cell = line?.getCell(column)
    if (!cell?.getChars().trim()) continue
    const colour = cell.isFgDefault() ? undefined : cell.getFgColor()
    const [isDim, isBold] = [cell.isDim() !== 0, cell.isBold() !== 0]
    const isKnown = cell.isFgDefault() || (cell.isFgPalette() && cell.getFgColor() < 8)
    if (!isKnown || !cell.isBgDefault() || cell.isInverse() || cell.getWidth() !== 1)
      throw new Error(`line ${row + 1}, column ${column + 1}: a style that the recording does not know`)
    const last = runs.at(-1)
    const gap = last ? column - last.column - last.text.length : Number.POSITIVE_INFINITY
    if (last && gap <= 1 && last.colour === colour && last.isDim === isDim && last.isBold === isBold)
      runs[runs.length - 1] = { ...last, text: `${last.text}${' '.repeat(gap)}${cell.getChars()}` }
    else runs.push({ column, text: cell.getChars(), colour, isDim, isBold })
  }
  return runs
}
