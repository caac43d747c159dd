/** Frames as an SVG that plays them in a loop: a film strip, moved by CSS a frame at a time. Pure. */
import { columns, type Frame, type Run, rows } from './screens.ts'

const cell = { width: 9.6, height: 20 }
const screen = { x: 16, y: 38, width: columns * cell.width, height: rows * cell.height }
const window = { width: screen.width + 2 * screen.x, height: screen.height + screen.y + 10 }
/** For a dark window, by the terminal's numbers. */
const colours = ['#6e7681', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#e6edf3']

export interface Recording {
  readonly title: string
  readonly description: string
  /** In order, with at least one. */
  readonly frames: readonly Frame[]
  /** Of the whole loop: the last frame stands until its end. */
  readonly seconds: number
  /** The frame that is seen where nothing moves. */
  readonly still: number
}

export function formatRecording({ title, description, frames, seconds, still }: Recording): string {
  const lines = new Map<string, string>()
  const define = (line: readonly Run[]) => {
    const drawn = line.map(formatRun).join('')
    const id = lines.get(drawn) ?? `l${lines.size}`
    lines.set(drawn, id)
    return id
  }
  const shift = (frame: number) => `transform:translateX(${-frame * screen.width}px)`
  const strip = frames.map((frame, i) => {
    const uses = frame.lines.flatMap((line, row) =>
      line.length === 0 ? [] : `<use href="#${define(line)}" y="${row * cell.height}"/>`,
    )
    return `<g transform="translate(${i * screen.width})">${uses.join('')}</g>`
  })
  const steps = frames.map((frame, i) => {
    const at = ((frame.seconds - (frames[0]?.seconds ?? 0)) / seconds) * 100
    return `${Number(at.toFixed(3))}%{${shift(i)}}`
  })
  const last = shift(frames.length - 1)
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" ${size(window)} viewBox="0 0 ${window.width} ${window.height}">
<title id="title">${escapeXml(title)}</title>
<desc id="desc">${escapeXml(description)}</desc>
<style>
text{font:16px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-variant-emoji:text;white-space:pre;fill:#e6edf3}
.bold{font-weight:bold}
.dim{fill:#9198a1}
${colours.map((colour, i) => `.c${i}{fill:${colour}}`).join('')}
/* Who wants no motion, and what knows no animation, sees one from the middle. */
#strip{${shift(still)}}
@media (prefers-reduced-motion:no-preference){#strip{animation:play ${seconds.toFixed(2)}s step-end infinite}}
@keyframes play{
${steps.join('\n')}
100%{${last}}}
</style>
<defs>
${[...lines].map(([drawn, id]) => `<g id="${id}">${drawn}</g>`).join('\n')}
</defs>
<rect x=".5" y=".5" width="${window.width - 1}" height="${window.height - 1}" rx="8" fill="#161b22" stroke="#3d444d"/>
<g fill="#3d444d"><circle cx="20" cy="19" r="6"/><circle cx="40" cy="19" r="6"/><circle cx="60" cy="19" r="6"/></g>
<text class="dim" x="${window.width / 2}" y="24" text-anchor="middle">${escapeXml(title)}</text>
<svg x="${screen.x}" y="${screen.y}" ${size(screen)}><g id="strip">
${strip.join('\n')}
</g></svg>
</svg>
`
}

/** At its own place and stretched to its cells, so that the grid holds in any font. */
function formatRun({ column, text, colour, isDim, isBold }: Run): string {
  const styles = [colour !== undefined && `c${colour}`, isDim && 'dim', isBold && 'bold'].filter(Boolean).join(' ')
  const length =
    text.length > 1 ? ` textLength="${round(text.length * cell.width)}" lengthAdjust="spacingAndGlyphs"` : ''
  return `<text${styles && ` class="${styles}"`} x="${round(column * cell.width)}" y="15"${length}>${escapeXml(text)}</text>`
}

function size({ width, height }: { width: number; height: number }): string {
  return `width="${width}" height="${height}"`
}

function round(length: number): number {
  return Number(length.toFixed(1))
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
