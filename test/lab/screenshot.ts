/** `npm run screenshot`: docs/report.png, the report of a real run. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { usualLayout } from '../../lib/cluster/schema.ts'
import { harderway } from '../support/harderway.ts'
import { startBrowser } from '../support/programs.ts'
import { startGuideLab } from './guide-lab.ts'

const path = fileURLToPath(new URL('../../docs/report.png', import.meta.url))
const width = 1280

async function screenshot(dir: string): Promise<void> {
  await using _lab = await startGuideLab(dir, usualLayout)
  for (const command of ['bootstrap', 'report']) {
    const { status, stdout, stderr } = await harderway(dir, command)
    if (status !== 0) throw new Error(`${command} ended with ${status}:\n${stdout}${stderr}`)
  }
  await using browser = await startBrowser(dir)
  const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme: 'light' })
  await page.goto(pathToFileURL(join(dir, 'auth/report.html')).href)
  const png = await page.screenshot({ path, fullPage: true })
  process.stdout.write(`${path}: ${(png.length / 1000).toFixed(0)} kB\n`)
}

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'kubenet-')))
try {
  await screenshot(dir)
} finally {
  rmSync(dir, { recursive: true, force: true })
}
