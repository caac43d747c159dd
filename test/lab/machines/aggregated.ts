/**
 * A server behind an APIService, as metrics-server is one: it takes clients of the CA, and of the names, that the API
 * server publishes in a ConfigMap, and says which user they name. Asks for it all the time through each API server, as
 * a user, until its input ends, then prints how often, what failed, and who was named. Run in the folder of auth/, with
 * its own address and theirs.
 */
import { readFileSync } from 'node:fs'
import { createServer, request } from 'node:https'
import { setTimeout as wait } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'

const [address = '', port = '', ...apis] = process.argv.slice(2)
const file = (name: string) => readFileSync(`auth/${name}`)
const pairOf = (name: string) => ({ ca: file('ca.pem'), cert: file(`${name}.pem`), key: file(`${name}-key.pem`) })

function ask(url: string, as: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ...pairOf(as), agent: false, timeout: 60_000 }, async (response) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      const body = Buffer.concat(chunks).toString()
      if (response.statusCode === 200) resolve(body)
      else reject(new Error(`${url}: ${response.statusCode} ${body}`))
    })
    asked.on('timeout', () => asked.destroy(new Error(`${url}: no answer`)))
    asked.on('error', reject)
    asked.end()
  })
}

const path = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
const published = async () => JSON.parse(await ask(`${apis[0]}${path}`, 'admin')).data as Record<string, string>
let { 'requestheader-client-ca-file': ca = '', 'requestheader-allowed-names': names = '[]' } = await published()

const contextOf = () => ({ cert: file('kubernetes.pem'), key: file('kubernetes-key.pem'), ca })
const server = createServer(
  { ...contextOf(), requestCert: true, rejectUnauthorized: true },
  ({ socket, headers, headersDistinct }, answer) => {
    const { CN } = socket instanceof TLSSocket ? socket.getPeerCertificate().subject : {}
    const isAllowed = JSON.parse(names).includes(CN)
    const user = headers['x-remote-user']
    const groups = headersDistinct['x-remote-group'] ?? []
    const body = { kind: 'APIResourceList', groupVersion: 'probe.test/v1', resources: [], user, groups }
    answer.writeHead(isAllowed ? 200 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  },
)
server.listen(Number(port), address)

let isOver = false
process.stdin.resume().on('end', () => {
  isOver = true
})
const failures: string[] = []
const named = new Set<string>()
let count = 0
const until = async (work: () => Promise<unknown>) => {
  while (!isOver) {
    await work()
    await wait(200)
  }
}
/** As an informer does, which sees a change at once. */
const follow = () =>
  published().then(
    (data) => {
      const next = data['requestheader-client-ca-file'] ?? ''
      names = data['requestheader-allowed-names'] ?? '[]'
      if (next === ca) return
      ca = next
      server.setSecureContext(contextOf())
    },
    (error) => failures.push(String(error)),
  )
const asked = (api: string) => async () => {
  await ask(`${api}/apis/probe.test/v1`, 'jane').then(
    (body) => {
      const { user, groups } = JSON.parse(body)
      named.add(`${user} of ${groups}`)
      count += 1
    },
    (error) => failures.push(`${new Date().toISOString()} ${error}`),
  )
}
// It is registered by the first requests, and is served from then on.
for (const api of apis)
  for (let tries = 0; ; tries++)
    try {
      await ask(`${api}/apis/probe.test/v1`, 'jane')
      break
    } catch (error) {
      if (tries === 300) throw error
      await wait(200)
    }
process.stdout.write('ready\n')
await Promise.all([until(follow), ...apis.map((api) => until(asked(api)))])
process.stdout.write(JSON.stringify({ count, failures, named: [...named] }), () => process.exit())
