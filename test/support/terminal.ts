/** As much of a terminal as the tree uses: what a user would see, and what has scrolled off the top. */
export interface Terminal {
  /** Every line, without the blanks at its end. */
  readonly lines: readonly string[]
  readonly isCursorShown: boolean
  /** Colours and other styles. */
  readonly isStyled: boolean
}

/** Throws where there is a control sequence that it does not know. */
export function showOn({ rows, columns }: { rows: number; columns: number }, output: string): Terminal {
  const lines: string[][] = [[]]
  let [row, column, isCursorShown, isStyled] = [0, 0, true, false]
  const down = (count: number) => {
    for (row += count; lines.length <= row; ) lines.push([])
  }
  const obey = (command: string, parameters: string) => {
    const count = Number(parameters || 1)
    if (command === 'A') row = Math.max(row - count, lines.length - rows, 0)
    else if (command === 'B') down(Math.min(count, lines.length - 1 - row))
    else if (command === 'G') column = count - 1
    else if (command === 'K') lines[row] = parameters === '2' ? [] : (lines[row] ?? []).slice(0, column)
    else if (command === 'J') {
      lines[row] = (lines[row] ?? []).slice(0, column)
      lines.length = row + 1
    } else if (command === 'm') isStyled = true
    else if (parameters === '?25') isCursorShown = command === 'h'
    else if (parameters !== '?2026') throw new Error(`unknown: ${parameters}${command}`)
  }
  for (const [text, parameters, command] of output.matchAll(/\x1b\[([?\d;]*)([A-Za-z])|[\s\S]/gu)) {
    if (command !== undefined) obey(command, parameters ?? '')
    else if (text === '\n') down(1)
    else if (text === '\r') column = 0
    else if (/\p{Cc}/u.test(text)) throw new Error(`unknown: ${JSON.stringify(text)}`)
    else {
      if (column === columns) {
        down(1)
        column = 0
      }
      const line = lines[row] ?? []
      while (line.length < column) line.push(' ')
      line[column++] = text
    }
  }
  return { lines: lines.map((line) => line.join('').trimEnd()), isCursorShown, isStyled }
}
