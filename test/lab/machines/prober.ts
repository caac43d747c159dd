/**
 * Asks all the time until its input ends, then prints what failed, and from when until when. About five times a second
 * it asks the API, by a new connection, and by one that is kept, with a token and a ca.crt of its start (where that is
 * reset, or its server says when to ask again, once more, as client-go does); twice a second each etcd, of which a
 * majority has to be healthy; and once a second it writes, reads and deletes a Secret. Run in the folder of auth/, with
 * what is queried as its argument.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { setTimeout as wait } from 'node:timers/promises'
import { connectAsGo } from '../component/identity.ts'
import type { Pair, Probed } from './guide.ts'

/** In milliseconds since 1970. */
export interface Failed {
  readonly began: number
  readonly ended: number
  readonly error: string
}

const probed: Probed = JSON.parse(process.argv[2] ?? '')
const file = (name: string) => readFileSync(`auth/${name}`)
/** As it is when a program starts: read anew for each new connection. */
function pairOf([certificate, privateKey]: Pair, ca = probed.ca) {
  for (;;) {
    const [cert, key] = [file(certificate), file(privateKey)]
    // Two renames: what is read between them is no pair.
    if (new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) return { ca: file(ca), cert, key }
  }
}
const asAdmin = () => pairOf(probed.admin)
const earlyCa = { ca: file(probed.ca) }
const namespace = `${probed.api}/api/v1/namespaces/default`
const secrets = `${namespace}/secrets`
/** Milliseconds: what takes longer on a busy computer has failed. */
const patience = 60_000

interface Asked {
  readonly url: string
  readonly pair: object
  readonly agent: Agent
  readonly method?: string
  readonly body?: object
  readonly token?: string
}

function ask({ url, pair, agent, method = 'GET', body: sent, token }: Asked): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const asked = request(url, { ...pair, agent, method, headers, timeout: patience }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode = 0 } = response
        if (statusCode > 199 && statusCode < 300) resolve(body)
        else
          reject(
            Object.assign(new Error(`${method} ${url}: ${statusCode} ${body}`), {
              wasKept: asked.reusedSocket,
              retryAfter: statusCode === 503 ? response.headers['retry-after'] : undefined,
            }),
          )
      })
    })
    asked.on('timeout', () => asked.destroy(new Error(`${url}: no answer`)))
    asked.on('error', (error) => reject(Object.assign(error, { wasKept: asked.reusedSocket })))
    asked.end(sent && JSON.stringify(sent))
  })
}

const alone = new Agent({ keepAlive: false, maxCachedSessions: 0 })
const kept = new Agent({ keepAlive: true, maxSockets: 1 })
for (const agent of [alone, kept])
  agent.createConnection = (options) => connectAsGo(options as Parameters<typeof connectAsGo>[0])
const askNew = () => ask({ url: secrets, pair: asAdmin(), agent: alone })
/** As a pod that has read its token and its ca.crt at its start, and never again. */
const account = `${namespace}/serviceaccounts/default/token`
const { token } = JSON.parse(
  await ask({ url: account, pair: asAdmin(), agent: alone, method: 'POST', body: {} }),
).status
const askKept = async () => {
  const asked = { url: `${probed.api}/openid/v1/jwks`, pair: earlyCa, agent: kept, token }
  await ask(asked).catch(async (error) => {
    if (!error.wasKept || !(error.code === 'ECONNRESET' || error.retryAfter)) throw error
    await wait(Number(error.retryAfter ?? 0) * 1000)
    return ask(asked)
  })
}
/**
 * Over TLS an etcd that ends cuts off what it is asked (etcd-io/etcd#8916). Reads are asked again by the API server; of
 * a write nobody knows whether it was done, and its client is told.
 */
const isCut = (error: unknown) => /500.*malformed header: missing HTTP content-type/.test(String(error))
let cut = 0
const askToWrite = () =>
  writeSecret().catch((error) => {
    if (!isCut(error)) throw error
    cut += 1
  })
let written = 0
const writeSecret = async () => {
  const [name, pair] = [`probe-${process.pid}-${++written}`, asAdmin()]
  const body = { metadata: { name }, stringData: { key: name } }
  await ask({ url: secrets, pair, agent: alone, method: 'POST', body })
  const { data } = JSON.parse(await ask({ url: `${secrets}/${name}`, pair, agent: alone }))
  if (Buffer.from(data.key, 'base64').toString() !== name) throw new Error('another Secret is read than was written')
  await ask({ url: `${secrets}/${name}`, pair, agent: alone, method: 'DELETE' })
}
/**
 * Where it is answered as one that was under way when the leader went, once more, as etcd's own client does: by then
 * there is the next.
 */
const askMember = (url: string, pair: object) => {
  const once = () => ask({ url, pair, agent: alone })
  return once().catch(async (error) => {
    if (!/leader changed|NO LEADER/.test(String(error))) throw error
    await wait(1000)
    return once()
  })
}
const askEtcd = async ({ members, pair: files, ca }: NonNullable<Probed['etcd']>) => {
  const pair = pairOf(files, ca)
  const answers = await Promise.allSettled(members.map((url) => askMember(`${url}/health`, pair)))
  const well = answers.filter((each) => each.status === 'fulfilled' && JSON.parse(each.value).health === 'true')
  if (well.length >= 2) return
  const told = answers.map((each) => (each.status === 'fulfilled' ? each.value : String(each.reason)))
  throw new Error(`${well.length} of three etcd are healthy: ${told.join('; ')}`)
}

let isOver = false
process.stdin.resume().on('end', () => {
  isOver = true
})
const failures: Failed[] = []
/** With so many milliseconds between two. */
const repeat = async (work: () => Promise<unknown>, pause: number) => {
  let count = 0
  do {
    const began = Date.now()
    await work().catch((error) => failures.push({ began, ended: Date.now(), error: String(error) }))
    count += 1
    await wait(pause)
  } while (!isOver)
  return count
}
const { etcd } = probed
const counts = await Promise.all([
  repeat(askNew, 200),
  repeat(askKept, 200),
  repeat(askToWrite, 1000),
  ...(etcd ? [repeat(() => askEtcd(etcd), 500)] : []),
])
process.stdout.write(JSON.stringify({ counts, failures, cut }), () => process.exit())
