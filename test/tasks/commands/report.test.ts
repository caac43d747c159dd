/** The command `report`: what it writes and what it leaves alone, whatever is in auth/; and that no secret is in it. */
import assert from 'node:assert/strict'
import { chmodSync, cpSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
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

  test('begins with what expires next, and with whether everything is in order', async (t) => {
    const { place, auth } = copied(t)
    const textOf = async () => {
      await exits(0, place, 'report')
      const page = readFileSync(join(auth, 'report.html'), 'utf8')
      const [, header = ''] = /<header.*?>(.*?)<\/header>/s.exec(page) ?? []
      return header.replace(/<[^>]+>/g, '').replace(/\s+/g, ' ')
    }
    assert.match(
      await textOf(),
      /^ kubenet 3649 days until the next expiry, on .*25 targets: 25 up to date, 0 failed; read on /,
    )
    rmSync(join(auth, 'admin.kubeconfig'))
    assert.match(await textOf(), /25 targets: 1 to change, 24 up to date, 0 failed; read on /)
  })

  test('lists who holds which file, alike nodes in one row, and who may still be let in', async (t) => {
    const { place, auth } = copied(t)
    const text = async () => {
      await exits(0, place, 'report')
      return readFileSync(join(auth, 'report.html'), 'utf8')
        .replace(/<[^>]+>/g, ' ')
        .replace(/ +/g, ' ')
    }
    const page = await text()
    for (const row of [
      /^ your kubeconfig admin\.kubeconfig $/m,
      /^ worker0, worker1, worker2 ca\.pem, kube-proxy\.kubeconfig , &#60;name&#62;\.pem, &#60;name&#62;-key\.pem , &#60;name&#62;\.kubeconfig $/m,
      /^ gateway ca\.pem $/m,
    ])
      assert.match(page, row)
    assert.doesNotMatch(page, /let in/)
    await exits(0, place, 'component-certs/admin', '--force')
    assert.match(await text(), /may still be let in: admin \(until \d{4}-\d\d-\d\d; replaced/)
  })

  test('says of each problem what to do', async (t) => {
    const { place, auth } = copied(t)
    rmSync(join(auth, 'ca-key.pem'))
    chmodSync(join(auth, 'encryption-config.yaml'), 0o644)
    await exits(0, place, 'report')
    const page = readFileSync(join(auth, 'report.html'), 'utf8')
    const [, problems = ''] = /<ul>(.*?)<\/ul>/s.exec(page) ?? []
    const lines = problems.split('<li>').map((line) => line.replace(/<[^>]+>/g, ''))
    assert.equal(lines.filter((line) => line.includes('ca-key.pem missing')).length, 1, problems)
    assert.match(lines.find((line) => line.startsWith('ca: ')) ?? '', /npm run task -- recover --node control0/)
    assert.match(problems, /encryption-key: to change; encryption-config.yaml has mode 0644/)
  })

  test('shows a rotation that is under way, on the page and in the metrics', async (t) => {
    const { place, auth } = copied(t)
    const metrics = async () => {
      for (const args of [[], ['--format', 'prometheus']]) await exits(0, place, 'report', ...args)
      const text = readFileSync(join(auth, 'report.prom'), 'utf8')
      return [...text.matchAll(/^harderway_rotation_stage\{.*rotation="(.*)"\} (\d)$/gm)].map(([, name, stage]) => [
        name,
        stage,
      ])
    }
    const page = () => readFileSync(join(auth, 'report.html'), 'utf8')
    const none = [
      ['ca', '0'],
      ['etcd-ca', '0'],
      ['service-account', '0'],
      ['encryption-key', '0'],
    ]
    assert.deepEqual(await metrics(), none)
    assert.doesNotMatch(page(), /in progress/)
    cpSync(join(auth, 'admin-key.pem'), join(auth, 'service-account-next-key.pem'))
    assert.deepEqual(await metrics(), none.with(2, ['service-account', '1']))
    assert.match(
      page(),
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
