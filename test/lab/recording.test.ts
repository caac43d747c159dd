/** The recording of the tree: from a program's output to the SVG, and the one in docs/. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { byPhase } from '../../lib/show/reporter.ts'
import { clusterGraph } from '../../tasks/phases/table.ts'
import { phases } from '../../tasks/tables/phases.ts'
import { parsed } from '../support/bad-files.ts'
import { needs } from '../support/parts.ts'
import { formatRecording } from './recording.ts'
import { type Chunk, type Frame, readFrames } from './screens.ts'

const committed = readFileSync(new URL('../../docs/bootstrap.svg', import.meta.url), 'utf8')

/** A screen a row of text, up to the last that has any. */
function shown({ lines }: Frame): string[] {
  const texts = lines.map((line) => line.reduce((text, run) => text.padEnd(run.column) + run.text, ''))
  return texts.slice(0, texts.findLastIndex((text) => text !== '') + 1)
}

const chunks = (...list: [seconds: number, data: Chunk['data']][]): Chunk[] =>
  list.map(([seconds, data]) => ({ seconds, data }))

const draw = (...list: [seconds: number, data: string][]) =>
  readFrames(chunks(...list)).then((frames) =>
    formatRecording({ title: 'A & B', description: 'a < b', frames, seconds: 4, still: 1 }),
  )

/** Throws where xmllint, a parser of XML that is not ours, refuses the text or finds no such thing in it. */
function xpath(svg: string, path: string): string {
  const { status, stdout, stderr } = spawnSync('xmllint', ['--nonet', '--xpath', path, '-'], { input: svg })
  assert.equal(status, 0, String(stderr))
  return String(stdout).trim()
}

test('a frame is what the terminal shows then: what was erased is gone, what is styled is a run of its own', async () => {
  const frames = await readFrames(
    chunks([0, '\x1b[33m⠋\x1b[39m CA  \x1b[2mlooking\x1b[22m\r\nend'], [1, '\x1b[1A\x1b[2K\x1b[G\x1b[32m✔\x1b[39m CA']),
  )
  assert.deepEqual(
    frames.map((frame) => [frame.seconds, ...shown(frame)]),
    [
      [0, '⠋ CA  looking', 'end'],
      [1, '✔ CA', 'end'],
    ],
  )
  assert.deepEqual(frames[0]?.lines[0], [
    { column: 0, text: '⠋', colour: 3, isDim: false, isBold: false },
    { column: 2, text: 'CA', colour: undefined, isDim: false, isBold: false },
    { column: 6, text: 'looking', colour: undefined, isDim: true, isBold: false },
  ])
})

test('what scrolls off the top is gone', async () => {
  const [frame] = await readFrames(chunks([0, Array.from({ length: 25 }, (_, i) => `line ${i}`).join('\r\n')]))
  assert.deepEqual(frame && shown(frame).slice(0, 2), ['line 1', 'line 2'])
})

test('a redraw that comes in two pieces is one frame, and so are screens closer than 200 ms', async () => {
  const frames = await readFrames(
    chunks(
      [0, 'a'],
      [0.5, '\x1b[2K\x1b[G'],
      [0.501, 'b'],
      [0.55, 'c'],
      [0.57, 'd'],
      [0.8, '\x1b[2K\x1b[G'],
      [0.801, 'e'],
    ),
  )
  assert.deepEqual(
    frames.map((frame) => [frame.seconds, shown(frame)]),
    [
      [0, ['a']],
      [0.501, ['bcd']],
      [0.801, ['e']],
    ],
  )
})

test('a character that two chunks share is whole', async () => {
  const bytes = Buffer.from('✔')
  const [frame] = await readFrames(chunks([0, bytes.subarray(0, 1)], [0.001, bytes.subarray(1)]))
  assert.deepEqual(frame && shown(frame), ['✔'])
})

test('a style that the drawing would lose is refused', async () => {
  for (const style of ['7', '41', '91', '38;2;1;2;3'])
    await assert.rejects(readFrames(chunks([0, `\x1b[${style}mx`])), /line 1, column 1: a style/)
})

test('the frames are in order, each at its time, and a still picture shows the one named', async () => {
  const svg = await draw([1, 'one'], [2, '\r\ntwo'], [4, '\r\nthree'])
  const steps = [...svg.matchAll(/^([\d.]+)%\{transform:translateX\((-?\d+)px\)/gm)].map(([, at, x]) => [at, x])
  assert.deepEqual(steps, [
    ['0', '0'],
    ['25', '-768'],
    ['75', '-1536'],
    ['100', '-1536'],
  ])
  assert.match(svg, /#strip\{transform:translateX\(-768px\)\}\n@media \(prefers-reduced-motion:no-preference\)/)
})

test('each frame has all its lines, each at its row', async () => {
  const svg = await draw([0, 'one'], [1, '\r\n\r\n  \x1b[32;1mthree'])
  const drawn = new Map([...svg.matchAll(/^<g id="(\w+)">(.*)<\/g>$/gm)].map(([, id, line]) => [id, line]))
  const frames = [...svg.matchAll(/^<g transform="translate\((\d+)\)">(.*)<\/g>$/gm)].map(([, x, uses]) => [
    Number(x),
    ...[...(uses ?? '').matchAll(/#(\w+)" y="(\d+)"/g)].map(([, id, y]) => [Number(y), drawn.get(id)]),
  ])
  const one = '<text x="0" y="15" textLength="28.8" lengthAdjust="spacingAndGlyphs">one</text>'
  const three = '<text class="c2 bold" x="19.2" y="15" textLength="48" lengthAdjust="spacingAndGlyphs">three</text>'
  assert.deepEqual(frames, [
    [0, [0, one]],
    [768, [0, one], [40, three]],
  ])
})

test('a line is drawn once, however many frames have it', async () => {
  const svg = await draw([0, 'same'], [1, '\r\nother'], [2, '\r\nsame'])
  assert.equal(svg.split('>same<').length, 2)
  assert.equal(svg.split('href="#l0"').length, 5)
})

test('a parser of XML reads the texts as they were', { skip: needs('xmllint') }, async () => {
  const svg = await draw([0, `<a href="x">&amp; ]]> 'q'</a>`])
  const content = (path: string) => xpath(svg, `string(${path})`)
  assert.equal(content('//*[local-name()="g"][@id="l0"]'), `<a href="x">&amp; ]]> 'q'</a>`)
  assert.equal(content('//*[local-name()="title"]'), 'A & B')
  assert.equal(content('//*[local-name()="desc"]'), 'a < b')
})

test('docs/bootstrap.svg is well formed', { skip: needs('xmllint') }, () => {
  assert.equal(xpath(committed, 'string(/*[local-name()="svg"]/@role)'), 'img')
})

test('docs/bootstrap.svg is small, shows every phase, and nothing of the machine that made it', () => {
  assert.ok(Buffer.byteLength(committed) < 300_000)
  const graph = clusterGraph(parsed(readFileSync(new URL('../../cluster.yaml', import.meta.url))))
  const titles = byPhase(phases, graph).keys()
  for (const text of [...titles, '$ npm run bootstrap', 'Deployed', 'Installed', 'Plan:'])
    assert.ok(committed.includes(`>${text}`), `it does not show ${text}: npm run record`)
  assert.doesNotMatch(committed, />[^<]*restart(ing|ed) [^<]*</)
  assert.match(committed, />\d+ targets: [1-9]\d* made, \d+ fresh, 0 failed in/)
  // The edge of the terminal may cut the path of a place.
  assert.doesNotMatch(committed, /\/(tmp|home|root|Users|work|var(?!\/lib\/kub(?:e|<)))\b|<script|<image|@import|url\(/)
})
