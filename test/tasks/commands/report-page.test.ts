/** The page that `report` writes, opened from its file in Chromium. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import axe from 'axe-core'
import type { Browser, Page } from 'playwright-core'
import { openssl } from '../../support/certificates.ts'
import { exits, gateway, makePlace, writeCluster } from '../../support/harderway.ts'
import { needs, startBrowser } from '../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']

describe("the report of the guide's cluster", { skip: needs('chromium', 'openssl') }, () => {
  let browser: Browser
  let place: string
  let auth: string
  let url: string

  before(async () => {
    place = makePlace()
    browser = await startBrowser(join(place, 'home'))
    auth = join(place, 'auth')
    url = pathToFileURL(join(auth, 'report.html')).href
    writeCluster(place, [gateway])
    for (const names of [phases, ['report']]) await exits(0, place, ...names)
    await spoil(join(place, 'wrong'))
  })
  after(async () => {
    await browser.close()
    rmSync(place, { recursive: true, force: true })
  })

  /** A report of certificates that end soon, after their CA, one without its address. */
  const spoil = async (wrong: string) => {
    mkdirSync(join(wrong, 'home'), { recursive: true })
    cpSync(auth, join(wrong, 'auth'), { recursive: true, preserveTimestamps: true })
    writeCluster(wrong, [gateway, [['certificates', 'renewBefore'], '3640d'], [['nodes', 3, 'ip'], '192.168.1.44']])
    openssl(
      ...['x509', '-in', join(wrong, 'auth/ca.pem'), '-signkey', join(wrong, 'auth/ca-key.pem'), '-days', '9'],
      ...['-out', join(wrong, 'auth/ca.pem')],
    )
    await exits(0, wrong, 'report')
  }
  const assertAccessible = async (page: Page) => {
    await page.evaluate(axe.source)
    const { violations, passes } = await page.evaluate<axe.AxeResults>('axe.run()')
    assert.deepEqual(
      violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
      [],
    )
    assert.ok(passes.some(({ id }) => id === 'color-contrast'))
    const overhang = 'document.scrollingElement.scrollWidth - innerWidth'
    assert.ok((await page.evaluate<number>(overhang)) <= 0, 'wider than the window')
  }

  for (const [width, colorScheme] of [
    [1280, 'light'],
    [400, 'dark'],
  ] as const)
    test(`has nothing that axe calls serious or critical, ${width} px wide and ${colorScheme}`, async () => {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme })
      await page.goto(url)
      await assertAccessible(page)
      // And where nothing is right.
      await page.goto(pathToFileURL(join(place, 'wrong/auth/report.html')).href)
      for (const mark of ['header.bad', 'main > ul', '.soon .bar'])
        assert.ok((await page.locator(mark).count()) > 0, mark)
      await assertAccessible(page)
      await page.close()
    })
})
