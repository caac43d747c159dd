/**
 * Asks all the time until its input ends, then prints what failed: the API through the virtual IP, by a new connection each
 * time and by one that is kept (where that is reset, once more, as client-go does); and each etcd, of which a majority has
 * to be healthy. Run in the folder of auth/.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'

const file = (name: string) => readFileSync(`auth/${name}.pem`)
const ca = file('ca')
const admin = { ca, cert: file('admin'), key: file('admin-key') }
const etcd = { ca, cert: file('kubernetes'), key: file('kubernetes-key') }
const members = [11, 12, 13].map((end) => `https://192.168.1.${end}:2379/health`)
const secrets = 'https://kubernetes:6443/api/v1/namespaces/default/secrets'
/** Milliseconds: what takes longer on a busy computer has failed. */
const patience = 60_000

interface Asked {
  readonly url: string
  readonly pair: typeof admin
  readonly agent: Agent
}

function ask({ url, pair, agent }: Asked): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ...pair, agent, timeout: patience }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      response.on('error', reject)
      response.on('end', () => (response.statusCode === 200 ? resolve(body) : reject(new Error(`${url}: ${body}`))))
    })
    asked.on('timeout', () => asked.destroy(new Error(`${url}: no answer`)))
    asked.on('error', (error) => reject(Object.assign(error, { wasKept: asked.reusedSocket })))
    asked.end()
  })
}

const alone = new Agent({ keepAlive: false, maxCachedSessions: 0 })
const kept = new Agent({ keepAlive: true, maxSockets: 1 })
const askKept = async () => {
  const asked = { url: secrets, pair: admin, agent: kept }
  await ask(asked).catch((error) => {
    if (error.wasKept && error.code === 'ECONNRESET') return ask(asked)
    throw error
  })
}
const askEtcd = async () => {
  const answers = await Promise.allSettled(members.map((url) => ask({ url, pair: etcd, agent: alone })))
  const well = answers.filter((each) => each.status === 'fulfilled' && JSON.parse(each.value).health === 'true')
  if (well.length < 2) throw new Error(`${well.length} of three etcd are healthy`)
}

let isOver = false
process.stdin.resume().on('end', () => {
  isOver = true
})
const failures: string[] = []
const repeat = async (work: () => Promise<unknown>) => {
  let count = 0
  do {
    await work().catch((error) => failures.push(`${new Date().toISOString()} ${error}`))
    count += 1
    await new Promise((resolve) => setTimeout(resolve, 10))
  } while (!isOver)
  return count
}
const counts = await Promise.all([
  repeat(() => ask({ url: secrets, pair: admin, agent: alone })),
  repeat(askKept),
  repeat(askEtcd),
])
process.stdout.write(JSON.stringify({ counts, failures }))
process.exit()
