/** The page that `report` writes, opened from its file in Chromium. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import axe from 'axe-core'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { openssl } from '../../../support/certificates.ts'
import { exits, gateway, makePlace, writeCluster } from '../../../support/harderway.ts'
import { needs, startBrowser } from '../../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const wide = { width: 1280, height: 900 }
const narrow = { width: 390, height: 844 }

/** What a role's files hold of private keys, in the order of the columns. */
const columns = [
  ...['ca', 'kubernetes', 'admin', 'service-account', 'encryption key'],
  ...['its own node', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy'],
]
const held = [
  ['auth/ on this machine', columns],
  ['your kubeconfig', ['admin']],
  ['control0, control1, control2', columns],
  ['worker0, worker1, worker2', ['its own node', 'kube-proxy']],
  ['gateway', []],
]

describe("the report of the guide's cluster", { skip: needs('chromium', 'openssl') }, () => {
  let browser: Browser
  let place: string
  let auth: string
  let url: string
  let files: readonly string[]

  before(async () => {
    place = makePlace()
    browser = await startBrowser(join(place, 'home'))
    auth = join(place, 'auth')
    url = pathToFileURL(join(auth, 'report.html')).href
    writeCluster(place, [gateway])
    for (const names of [phases, ['report']]) {
      await exits(0, place, ...names)
    }
    await spoil(join(place, 'wrong'))
    files = readdirSync(auth).filter((name) => name.endsWith('.pem') && !name.endsWith('-key.pem'))
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
  const open = async (options: BrowserContextOptions = {}) => {
    const page = await browser.newPage({ viewport: wide, ...options })
    await page.goto(url)
    return page
  }
  const shown = (page: Page) => page.locator('#list details:visible > summary b').allTextContents()
  const unfold = (page: Page) =>
    page.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`)
  const fingerprint = (file: string) => openssl('x509', '-in', file, '-noout', '-fingerprint', '-sha256')
  const asFile = (pem: string | null) => {
    const file = join(mkdtempSync(join(place, 'shown-')), 'shown.pem')
    writeFileSync(file, pem ?? '')
    return file
  }

  const assertAccessible = async (page: Page) => {
    // All that is folded away is judged too.
    await unfold(page)
    await page.evaluate(axe.source)
    const { violations, passes } = await page.evaluate<axe.AxeResults>('axe.run()')
    assert.deepEqual(
      violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
      [],
    )
    assert.ok(passes.some(({ id }) => id === 'color-contrast'))
  }

  test('says nothing on the console, has no error and asks for nothing but itself', async () => {
    const page = await browser.newPage()
    const happened: string[] = []
    page.on('console', (message) => happened.push(message.text()))
    page.on('pageerror', (error) => happened.push(error.message))
    page.on('request', (request) => happened.push(request.url()))
    await page.goto(url)
    assert.deepEqual(happened, [url])
    await page.close()
  })

  for (const [viewport, colorScheme] of [
    [wide, 'light'],
    [narrow, 'dark'],
  ] as const)
    test(`has nothing that axe calls serious or critical, ${viewport.width} px wide and ${colorScheme}`, async () => {
      const page = await open({ viewport, colorScheme })
      await assertAccessible(page)
      const overhang = 'document.scrollingElement.scrollWidth - innerWidth'
      assert.ok((await page.evaluate<number>(overhang)) <= 0, 'wider than the window')
      // And where nothing is right.
      await page.goto(pathToFileURL(join(place, 'wrong/auth/report.html')).href)
      for (const mark of ['.wrong', '#ends .marked', '#list .stale'])
        assert.ok((await page.locator(mark).count()) > 0, mark)
      await assertAccessible(page)
      await page.close()
    })

  test('shows the names and addresses that openssl reads in each certificate', async () => {
    const page = await open()
    await unfold(page)
    for (const file of files) {
      const sans = openssl('x509', '-in', join(auth, file), '-noout', '-ext', 'subjectAltName').split('\n')[1] ?? ''
      const facts = await page.locator(`#certificate-${file.replace('.pem', '')} dl`).textContent()
      for (const san of sans.split(',').filter(Boolean))
        assert.ok(facts?.includes(san.trim().replace(/^(DNS|IP Address):/, '')), `${file} ${san}`)
    }
    await page.close()
  })

  test('prints without what paper has no use for', async () => {
    const page = await open({ colorScheme: 'dark' })
    await page.emulateMedia({ media: 'print' })
    assert.equal(await page.locator('nav').isVisible(), false)
    assert.deepEqual((await shown(page)).toSorted(), files)
    assert.equal((await page.pdf()).subarray(0, 5).toString(), '%PDF-')
    await page.close()
  })

  test('says of each machine which keys it holds', async () => {
    const page = await open()
    const table = page.getByRole('region', { name: 'Keys by machine' }).getByRole('table')
    const headings = await table.getByRole('columnheader').allInnerTexts()
    assert.deepEqual(headings, ['Machine', ...columns])
    const rows = await table.locator('tbody').getByRole('row').all()
    const seen = await Promise.all(
      rows.map(async (row) => {
        const [name = ''] = (await row.getByRole('rowheader').allInnerTexts()).flatMap((text) => text.split('\n'))
        const cells = await row.getByRole('cell').allTextContents()
        return [name, columns.filter((_, i) => cells[i]?.includes('holds'))]
      }),
    )
    assert.deepEqual(seen, held)
    await page.close()
  })

  test('opens by Enter a certificate whose PEM is that of its file, to openssl, without JavaScript', async () => {
    const page = await open({ javaScriptEnabled: false })
    for (const file of files) {
      const details = page.locator(`#certificate-${file.replace('.pem', '')}`)
      await details.locator('summary').press('Enter')
      const pem = details.locator('pre')
      await pem.waitFor()
      assert.equal(fingerprint(asFile(await pem.textContent())), fingerprint(join(auth, file)))
    }
    await page.close()
  })
})
