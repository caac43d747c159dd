/** The files as TLS libraries other than Node's see them: OpenSSL's and GnuTLS's own tools, curl, and a linter. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { scratch } from '../support/files.ts'
import { type Edit, exits, madePlace, writeCluster } from '../support/harderway.ts'
import { freePorts, needs, type Server, startServer } from '../support/programs.ts'

const run = promisify(execFile)

/** The .pem files of a name in an auth/. */
interface Identity {
  readonly auth: string
  readonly name: string
}

const pem = ({ auth, name }: Identity) => join(auth, `${name}.pem`)
const key = ({ auth, name }: Identity) => join(auth, `${name}-key.pem`)
const ca = ({ auth }: Identity) => join(auth, 'ca.pem')

/** Each asks every client for a certificate, judges it, and shows on a page of HTML whom it sees. */
const servers: Readonly<Record<string, (identity: Identity) => Promise<{ server: Server; port: number }>>> = {
  'openssl s_server': async (identity) => {
    const asking = ['-CAfile', ca(identity), '-Verify', '2', '-verify_return_error', '-www']
    const args = ['s_server', '-accept', '127.0.0.1:0', '-cert', pem(identity), '-key', key(identity), ...asking]
    const server = await startServer('openssl', args, /^ACCEPT 127\.0\.0\.1:(\d+)$/m)
    return { server, port: Number(server.ready[1]) }
  },
  'gnutls-serv': async (identity) => {
    const [port = 0] = await freePorts(1)
    const files = [`--x509certfile=${pem(identity)}`, `--x509keyfile=${key(identity)}`, `--x509cafile=${ca(identity)}`]
    const asking = ['--require-client-cert', '--verify-client-cert', '--http']
    const server = await startServer(
      'gnutls-serv',
      [`--port=${port}`, ...files, ...asking],
      /IPv4 0\.0\.0\.0 port \d+\.\.\.done/,
    )
    return { server, port }
  },
}

interface Visit {
  readonly port: number
  /** The name that the server must have. */
  readonly host: string
  readonly trust: string
  /** Undefined: no certificate. */
  readonly as: Identity | undefined
}

/** Each gives the page, and throws where it refuses the server or is refused. */
const clients: Readonly<Record<string, (visit: Visit) => Promise<string>>> = {
  'openssl s_client': ({ port, host, trust, as }) =>
    visit('openssl', [
      ...['s_client', '-connect', `127.0.0.1:${port}`, '-servername', host, '-verify_hostname', host],
      ...['-CAfile', trust, '-verify_return_error', '-quiet', ...(as ? ['-cert', pem(as), '-key', key(as)] : [])],
    ]),
  curl: async ({ port, host, trust, as }) => {
    const identity = as ? ['--cert', pem(as), '--key', key(as)] : []
    const address = ['--resolve', `${host}:${port}:127.0.0.1`, `https://${host}:${port}/`]
    // --disable: nothing of the user's own .curlrc.
    const quiet = ['--disable', '--silent', '--show-error', '--cacert', trust]
    return (await run('curl', [...quiet, ...identity, ...address])).stdout
  },
  'gnutls-cli': ({ port, host, trust, as }) =>
    visit('gnutls-cli', [
      ...[`--port=${port}`, `--verify-hostname=${host}`, `--sni-hostname=${host}`],
      ...[`--x509cafile=${trust}`, '127.0.0.1'],
      ...(as ? [`--x509certfile=${pem(as)}`, `--x509keyfile=${key(as)}`] : []),
    ]),
}

/** The server's name, and who visits it. */
const roles = [
  { server: 'kubernetes', host: 'kubernetes', client: 'admin', subject: /Subject:.*CN ?= ?admin\b/ },
  { server: 'worker0', host: 'worker0.kubenet', client: 'kubernetes', subject: /Subject:.*CN ?= ?kubernetes\b/ },
]

for (const kind of ['rsa-2048', 'ecdsa-p256'])
  describe(`with files of ${kind}`, () => {
    const edits: Edit[] = [[['certificates', 'key'], kind]]
    const [place, elsewhere] = [madePlace(edits, 'certs'), madePlace(edits, 'certs')]
    const ours = (name: string): Identity => ({ auth: join(place, 'auth'), name })
    const theirs = (name: string): Identity => ({ auth: join(elsewhere, 'auth'), name })

    for (const [serverName, serve] of Object.entries(servers))
      for (const [clientName, go] of Object.entries(clients)) {
        const skip = needs(...[serverName, clientName].map((name) => name.split(' ')[0] ?? name))
        test(`${clientName} and ${serverName} know each other, in both directions, and no stranger`, {
          skip,
        }, async () => {
          for (const role of roles) {
            const { server, port } = await serve(ours(role.server))
            await using _ = server
            const known: Visit = { port, host: role.host, trust: ca(ours('ca')), as: ours(role.client) }
            assert.match(await go(known), role.subject)
            await assert.rejects(go({ ...known, as: undefined }), 'without a certificate')
            await assert.rejects(go({ ...known, as: theirs(role.client) }), 'with one of another CA')
            await assert.rejects(go({ ...known, trust: ca(theirs('ca')) }), 'trusting another CA')
            await assert.rejects(go({ ...known, host: 'elsewhere.invalid' }), 'by a name that is not there')
            assert.match(await go(known), role.subject, 'and is still served')
          }
        })
      }
  })

const dualStack: readonly Edit[] = [
  [['nodes', 0], { name: 'control0', role: 'control', ips: ['192.168.1.11', 'fd00:1::11'] }],
  [['nodes', 3], { name: 'worker0', role: 'worker', ip: 'fd00:1::14', sans: ['2001:db8::1', 'worker-zero'] }],
  [
    ['network', 'serviceCIDR'],
    ['10.32.0.0/16', 'fd00:2::/108'],
  ],
  [
    ['api', 'extraSANs'],
    ['::1', '*.kubenet'],
  ],
]
const foreignWords: readonly Edit[] = [
  [['subject', 'state'], 'Małopolskie'],
  [['subject', 'locality'], 'Kraków'],
  [['subject', 'organization'], 'Żółw & Syn_y @ 東京'],
  [['subject', 'organizationalUnit'], 'Ünïcode 🐢'],
]
const ecdsa = (curve: string): Edit => [['certificates', 'key'], `ecdsa-${curve}`]
const linted: Readonly<Record<string, readonly Edit[]>> = {
  "the guide's cluster with RSA": [],
  "the guide's cluster with ECDSA on P-256": [ecdsa('p256')],
  'ECDSA on P-384, IPv6, and a subject beyond ASCII': [ecdsa('p384'), ...dualStack, ...foreignWords],
  'RSA, IPv6, and a subject beyond ASCII': [...dualStack, ...foreignWords],
  'a validity past 2050': [[['certificates'], { key: 'ecdsa-p256', validity: '30y', caValidity: '30y' }]],
}

describe('no certificate breaks a rule of RFC 5280', { skip: needs('zlint') }, () => {
  for (const [title, edits] of Object.entries(linted))
    test(title, async (t) => {
      const place = scratch(t)
      writeCluster(place, edits)
      await exits(0, place, 'certs')
      const auth = join(place, 'auth')
      const files = readdirSync(auth).filter((name) => name.endsWith('.pem') && !name.endsWith('-key.pem'))
      assert.equal(files.length, 13)
      const { stdout } = await run('zlint', ['-includeSources', 'RFC5280', ...files.map((name) => join(auth, name))])
      const verdicts: Record<string, { result: string }>[] = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      assert.equal(verdicts.length, files.length)
      for (const [i, verdict] of verdicts.entries()) {
        const file = files[i] ?? ''
        const { validFromDate, validToDate } = new X509Certificate(readFileSync(join(auth, file)))
        assert.ok(validFromDate < validToDate, file)
        const results = Object.entries(verdict)
        assert.ok(results.filter(([, { result }]) => result === 'pass').length > 20, file)
        assert.deepEqual(
          results.filter(([, { result }]) => result === 'error' || result === 'fatal').map(([lint]) => lint),
          [],
          file,
        )
      }
    })
})

/** What the program prints of the server's answer to a request for a page; throws where it fails, or has no answer. */
function visit(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: 'pipe' })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  // One that was refused no longer reads.
  child.stdin.on('error', () => {})
  child.stdin.end('GET / HTTP/1.0\r\n\r\n')
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => {
      if (status === 0 && text.includes('</BODY>')) resolve(text)
      else reject(new Error(`${program} ended with ${status}:\n${text}`))
    })
  })
}
