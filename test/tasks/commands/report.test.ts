/** The command `report`: what it writes and what it leaves alone, whatever is in auth/; and that no secret is in it. */
import assert from 'node:assert/strict'
import { cpSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { openssl } from '../../support/certificates.ts'
import { stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, exits, gateway, harderway, madePlace } from '../../support/harderway.ts'
import { needs, startBrowser } from '../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const keyKind = (kind: string): Edit => [['certificates', 'key'], kind]
const formats = { html: 'report.html', prometheus: 'report.prom' }
const script = '<img src=x onerror=alert(1)>'

describe('report', { concurrency: 2 }, () => {
  const origin = madePlace([keyKind('ecdsa-p256'), gateway], ...phases, 'local-kubeconfig')

  const copied = (t: TestContext) => copyPlace(t, origin, [keyKind('ecdsa-p256'), gateway])

  for (const [format, file] of Object.entries(formats))
    test(`writes ${file}, 0644, prints its path, and leaves everything else as it was`, async (t) => {
      const { place, auth } = copied(t)
      const path = join('auth', file)
      for (const _ of ['the first time', 'again']) {
        const before = stateOf(place, (name) => name !== path)
        const ran = await harderway(place, 'report', ...(format === 'html' ? [] : ['--format', format]))
        assert.deepEqual(ran, { status: 0, stdout: `${join(auth, file)}\n`, stderr: '', events: [] })
        assert.equal(lstatSync(join(auth, file)).mode & 0o7777, 0o644)
        assert.deepEqual(
          stateOf(place, (name) => name !== path),
          before,
        )
      }
    })

  test('lists who holds which file, alike nodes in one row', async (t) => {
    const { place, auth } = copied(t)
    await exits(0, place, 'report')
    const page = readFileSync(join(auth, 'report.html'), 'utf8')
      .replace(/<[^>]+>/g, ' ')
      .replace(/ +/g, ' ')
    for (const row of [
      /^ your kubeconfig admin\.kubeconfig $/m,
      /^ worker0, worker1, worker2 ca\.pem, kube-proxy\.kubeconfig , &#60;name&#62;\.pem, &#60;name&#62;-key\.pem , &#60;name&#62;\.kubeconfig $/m,
      /^ gateway ca\.pem $/m,
    ])
      assert.match(page, row)
  })

  test('shows a rotation that is under way', async (t) => {
    const { place, auth } = copied(t)
    cpSync(join(auth, 'admin-key.pem'), join(auth, 'service-account-next-key.pem'))
    for (const args of [[], ['--format', 'prometheus']]) await exits(0, place, 'report', ...args)
    const stages = readFileSync(join(auth, 'report.prom'), 'utf8').matchAll(
      /^harderway_rotation_stage.*"(.*)"\} (\d)$/gm,
    )
    assert.deepEqual(
      [...stages].map(([, name, stage]) => `${name} ${stage}`),
      ['ca 0', 'etcd-ca 0', 'service-account 1', 'encryption-key 0'],
    )
    assert.match(
      readFileSync(join(auth, 'report.html'), 'utf8'),
      /<li>rotation of .* in progress, stage 1 of \d \([\s\S]*npm run task -- rotate service-account/,
    )
  })

  test('with no auth/, or an empty one, says what to do, exits 1 and makes nothing', async (t) => {
    const { place, auth } = copied(t)
    rmSync(auth, { recursive: true })
    for (const prepare of [() => {}, () => mkdirSync(auth)]) {
      prepare()
      const before = stateOf(place)
      const ran = await harderway(place, 'report')
      assert.deepEqual([ran.status, ran.stdout], [1, ''])
      assert.match(ran.stderr, /\n {6}npm run bootstrap\n$/)
      assert.deepEqual(stateOf(place), before)
    }
  })

  test('shows HTML in a certificate of another CA as text: no browser runs it', {
    skip: needs('openssl', 'chromium'),
  }, async (t) => {
    const { place, auth } = copied(t)
    const file = join(place, 'report.html')
    const [pem, key] = ['worker0.pem', 'worker0-key.pem'].map((name) => join(auth, name)) as [string, string]
    const subject = `/O=<script>alert(2)<\\/script>/CN=${script}`
    openssl(
      ...['req', '-x509', '-new', '-key', join(auth, 'ca-key.pem'), '-out', join(place, 'other.pem'), '-subj', subject],
    )
    openssl('req', '-new', '-key', key, '-out', join(place, 'request.pem'), '-subj', subject)
    openssl(
      ...['x509', '-req', '-in', join(place, 'request.pem'), '-CA', join(place, 'other.pem'), '-out', pem],
      ...['-CAkey', join(auth, 'ca-key.pem'), '-days', '99'],
    )
    await exits(0, place, 'report')
    cpSync(join(auth, 'report.html'), file)
    await using browser = await startBrowser(join(place, 'home'))
    const page = await browser.newPage()
    const happened: string[] = []
    page.on('dialog', (dialog) => {
      happened.push(dialog.message())
      return dialog.dismiss()
    })
    page.on('request', (request) => happened.push(request.url()))
    await page.goto(`file://${file}`)
    const said = await page.locator('main').textContent()
    assert.ok(said?.includes(`drops O=<script>alert(2)</script>, CN=${script} from the subject`), String(said))
    assert.deepEqual([await page.locator('img').count(), await page.locator('script').count()], [0, 0])
    assert.deepEqual(happened, [`file://${file}`])
  })
})
