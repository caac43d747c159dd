/** The recording of the tree in docs/. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { byPhase } from '../../lib/graph/target.ts'
import { phases } from '../../tasks/bootstrap.ts'
import { clusterGraph } from '../../tasks/target.ts'
import { parsed } from '../support/files.ts'
import { needs } from '../support/programs.ts'

const committed = readFileSync(new URL('../../docs/bootstrap.svg', import.meta.url), 'utf8')

/** Throws where xmllint, a parser of XML that is not ours, refuses the text or finds no such thing in it. */
function xpath(svg: string, path: string): string {
  const { status, stdout, stderr } = spawnSync('xmllint', ['--nonet', '--xpath', path, '-'], { input: svg })
  assert.equal(status, 0, String(stderr))
  return String(stdout).trim()
}

test('docs/bootstrap.svg is well formed', { skip: needs('xmllint') }, () => {
  assert.equal(xpath(committed, 'string(/*[local-name()="svg"]/@role)'), 'img')
})

test('docs/bootstrap.svg is small, shows every phase, and nothing of the machine that made it', async () => {
  assert.ok(Buffer.byteLength(committed) < 300_000)
  const graph = await clusterGraph(phases, parsed(readFileSync(new URL('../../cluster.yaml', import.meta.url))))
  const titles = byPhase(phases, graph).keys()
  for (const text of [...titles, '$ npm run bootstrap', 'Deployed', 'Installed', 'Plan:'])
    assert.ok(committed.includes(`>${text}`), `it does not show ${text}: npm run record`)
  assert.doesNotMatch(committed, />[^<]*restart(ing|ed) [^<]*</)
  assert.match(committed, />\d+ targets: [1-9]\d* changed, \d+ up to date, 0 failed in/)
  // The edge of the terminal may cut the path of a place.
  assert.doesNotMatch(committed, /\/(tmp|home|root|Users|work|var(?!\/lib\/kub(?:e|<)))\b|<script|<image|@import|url\(/)
})
