/**
 * How many handshakes with a real etcd fail while its certificate and key are replaced 1,000 times, two renames each,
 * as `install` does it: over the same key, as for another name, and with a new key, as for a renewal. `npm run
 * test:long`, as root.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { message, readAnswer, type Verb } from '../../lib/node/channel.ts'
import { buildTar, replaceLines } from '../../lib/node/node.ts'
import { marksFolder } from '../../lib/node/place.ts'
import { eventually } from '../support/programs.ts'
import { shakeHands } from './handshakes.ts'

const renewals = Number(process.argv[2] ?? 1000)
const port = 23_790
const nonce = '0123456789abcdef'
const place = mkdtempSync(join(tmpdir(), 'harderway-'))
const [source, etcd] = [join(place, 'source'), join(place, 'etcd')]
for (const folder of [source, etcd]) mkdirSync(folder)
const openssl = (...args: string[]) =>
  execFileSync('openssl', args, { cwd: place, stdio: ['ignore', 'pipe', 'ignore'] })
const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
const client = join(import.meta.dirname, 'handshakes.ts')
const ca = join(place, 'ca.pem')
openssl('req', '-x509', ...p256, '-subj', '/CN=ca', '-days', '2', '-keyout', 'ca-key.pem', '-out', 'ca.pem')

/** Certificates by turns, over one key or each over its own. */
function makePairs(hasNewKeys: boolean): { certificate: Buffer; key: Buffer }[] {
  return [0, 1].map((i) => {
    if (i === 0 || hasNewKeys) openssl('req', ...p256, '-subj', '/CN=etcd', '-keyout', 'key.pem', '-out', 'csr.pem')
    writeFileSync(join(place, 'extensions'), 'subjectAltName=IP:127.0.0.1\n')
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca-key.pem', '-extfile', 'extensions', '-days', '1']
    openssl('x509', '-req', '-in', 'csr.pem', ...by, '-set_serial', `${i + 1}`, '-out', 'certificate.pem')
    return { certificate: readFileSync(join(place, 'certificate.pem')), key: readFileSync(join(place, 'key.pem')) }
  })
}

function replace({ certificate, key }: { certificate: Buffer; key: Buffer }): void {
  const files = [
    { file: 'kubernetes.pem', bytes: certificate },
    { file: 'kubernetes-key.pem', bytes: key },
  ].map(({ file, bytes }) => ({ path: join(etcd, file), bytes, access: { uid: 0, gid: 0, mode: 0o600 } }))
  const archive = '.harderway-archive'
  writeFileSync(join(source, archive), buildTar(files))
  const ask = (verb: Verb, lines: readonly string[]) => {
    const input = message(verb, lines, nonce).replaceAll(marksFolder, place)
    const output = execFileSync('sh', { input, cwd: place, encoding: 'utf8' })
    assert.equal(readAnswer(output, nonce, verb).stopped, undefined)
  }
  const at = { folder: source, sudo: '' }
  ask('replace', replaceLines({ ...at, files, unchanged: [], seen: new Map() }, archive))
  ask('forget', [
    `folder ${source}`,
    'sudo ',
    ...files.map(({ path, bytes }) => `file ${path} ${hash('sha256', bytes)}`),
  ])
}

const one = { stop: () => {} }
try {
  for (const hasNewKeys of [false, true]) {
    const pairs = makePairs(hasNewKeys)
    replace(pairs[0] as (typeof pairs)[0])
    const url = `https://127.0.0.1:${port}`
    const tls = [`--cert-file=${etcd}/kubernetes.pem`, `--key-file=${etcd}/kubernetes-key.pem`]
    const listen = [`--listen-client-urls=${url}`, `--advertise-client-urls=${url}`]
    const peers = [`--listen-peer-urls=http://127.0.0.1:${port + 1}`, `--data-dir=${join(place, `data-${hasNewKeys}`)}`]
    const server = spawn('etcd', [...tls, ...listen, ...peers, '--log-level=panic'], { stdio: 'ignore' })
    one.stop = () => server.kill('SIGKILL')
    await eventually(() => shakeHands(port, readFileSync(ca)))
    // A process of its own asks all the time; this one is held by each script that it runs.
    const asking = spawn(process.execPath, [client, `${port}`, ca], { stdio: ['pipe', 'pipe', 'inherit'] })
    let told = ''
    asking.stdout.setEncoding('utf8').on('data', (text: string) => {
      told += text
    })
    for (let i = 0; i < renewals; i++) replace(pairs[(i + 1) % 2] as (typeof pairs)[0])
    asking.stdin.end()
    await once(asking, 'close')
    process.stdout.write(`${renewals} times ${hasNewKeys ? 'a new key' : 'the same key'}: ${told}`)
    server.kill('SIGKILL')
    await once(server, 'close')
  }
} finally {
  one.stop()
  rmSync(place, { recursive: true, force: true })
}
