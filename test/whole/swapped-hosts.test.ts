/**
 * ssh reaches another node than cluster.yaml means. Each node of the lab has a kernel that lists addresses of its own.
 */
import assert from 'node:assert/strict'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, type TestContext, test } from 'node:test'
import { fakeTool } from '../support/files.ts'
import { type Edit, harderway, idsOf, labEdits, messageOf, withStatus, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const addresses = { control0: '192.168.1.11', worker0: '192.168.1.14', worker1: 'fd00::15' }
type Name = keyof typeof addresses
const names = Object.keys(addresses) as Name[]
const roles = { control0: 'control', worker0: 'worker', worker1: 'worker' }
/** As /proc/net/if_inet6 has fd00::15. */
const inet6 = 'fd000000000000000000000000000015 02 40 00 80 eth0'

describe('where ssh reaches another node', { skip: needs('ssh', 'flock') }, () => {
  const suite = localPlace(...names)
  const { place } = suite
  const home = (name: Name) => suite.lab.node(name).home
  const files = (name: Name) => readdirSync(home(name)).filter((file) => !file.startsWith('.'))
  const deploy = (...args: string[]) => harderway(place, 'deploy', '--json', ...args)
  /** With something else said of some of them. */
  const write = (changes: Partial<Record<Name, object>> = {}, ...more: Edit[]) => {
    const nodes = names.map((name) => ({ name, role: roles[name], ip: addresses[name], ...changes[name] }))
    writeCluster(place, [...labEdits(suite.lab), [['nodes'], nodes], ...more])
  }
  /** What its kernel lists. */
  const withKernel = async (t: TestContext, kernels: Partial<Record<Name, string>>, work: () => Promise<void>) => {
    const toolFor = (text: string) =>
      fakeTool(t, 'cat', `case "$*" in *fib_trie*) printf '%s\\n' '${text}' ;; *) real "$@" ;; esac`)
    for (const [name, text] of Object.entries(kernels))
      await suite.lab.node(name).restart({ env: { PATH: `${toolFor(text)}:${process.env.PATH}` } })
    try {
      await work()
    } finally {
      for (const name of Object.keys(kernels)) await suite.lab.node(name).restart({ env: {} })
    }
  }
  const local = (address: string) => `Local:\n     |-- ${address}\n        /32 host LOCAL`
  const own = { control0: local(addresses.control0), worker0: local(addresses.worker0), worker1: inet6 }
  beforeEach(() => {
    for (const name of names) for (const file of files(name)) rmSync(join(home(name), file), { recursive: true })
  })

  test('because two hosts are swapped, a first deploy copies nothing to either of them', async (t) => {
    await withKernel(t, own, async () => {
      write({ control0: { host: 'worker0' }, worker0: { host: 'control0' } })
      const ran = await withStatus(3, deploy())
      assert.deepEqual(idsOf(ran, 'failed'), ['deploy/control0', 'deploy/worker0'])
      assert.deepEqual([files('control0'), files('worker0')], [[], []])
      assert.ok(files('worker1').includes('worker1.pem'))
      assert.match(
        String(messageOf(ran, 'deploy/control0')),
        /ssh worker0 reaches worker0 \(192\.168\.1\.14\), not control0 \(192\.168\.1\.11\)/,
      )
      // Overwriting another identity is no answer to that.
      await withStatus(3, deploy('--replace-identity', '--yes'))
      assert.deepEqual(files('worker0'), [])
    })
  })

  describe('and it was deployed to before,', () => {
    beforeEach(async () => {
      write()
      await withStatus(0, deploy())
    })

    test('a virtual address that the machine also has proves nothing', async (t) => {
      await withKernel(t, { control0: `${local('192.168.1.14')}\n${local('10.0.0.5')}` }, async () => {
        write(
          { worker0: { role: 'gateway' } },
          [['api', 'virtualIP'], '192.168.1.14'],
          [['api', 'extraSANs'], ['192.168.1.21']],
        )
        await withStatus(0, deploy('--node', 'control0'))
      })
    })
  })
})
