/** Names that bite: what is asked for in cluster.yaml is refused with a clear message, or carried through exactly. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { layoutRules } from '../../tasks/layouts/tables.ts'
import { scratch } from '../support/files.ts'
import { type Edit, harderway, idsOf, labEdits, sshEdit, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const control = { name: 'control0', role: 'control', ip: '192.168.1.11' }
const edits: Edit[] = [[['nodes'], [control]]]

const node = (key: string, value: string): Edit => [['nodes'], [{ ...control, [key]: value }]]
const at =
  (...path: string[]) =>
  (value: string): Edit => [path, value]
const injected = '-oProxyCommand=touch x'
const refused: readonly (readonly [key: string, edit: (value: string) => Edit, values: readonly string[]])[] = [
  [
    'nodes[0].name',
    (name) => node('name', name),
    [
      ...['-x', 'x-', 'a b', 'a;touch x', '$(touch x)', '../x', 'a/b', '.', 'a.b', 'żaba', 'a\nb', '', '`x`', "a'b"],
      ...['Control0', 'a'.repeat(53), 'a'.repeat(10_000), 'admin', 'admin-key'],
    ],
  ],
  [
    'nodes[0].host',
    (host) => node('host', host),
    [injected, '-x', '', 'a b', '$(touch x)', 'a;b', 'a/b', 'a@b', '[::1]', 'a\tb', 'a'.repeat(300)],
  ],
  ['ssh.user', at('ssh', 'user'), [injected, '-l', '', 'a b', '$(id)', 'a;b', 'a\nb', 'é', 'a'.repeat(80)]],
  [
    'ssh.directory',
    at('ssh', 'directory'),
    [injected, 'x', '', '../x', '~user/x', '~/../x', '/a/../b', '~/a\nb', '/a\u0000b', '-x', '~/a\u2028b'],
  ],
  ['name', at('name'), ['-x', 'a b', 'x;y', 'é', '', '$(x)', 'a'.repeat(300), '"', '{}', injected]],
]
for (const [key, edit, values] of refused)
  test(`${key} is refused where it is no name, with its place: ${JSON.stringify(values).slice(0, 60)}`, (t) => {
    const place = scratch(t)
    for (const value of values) {
      writeCluster(place, [...edits, edit(value)])
      const parsed = parseCluster(readFileSync(join(place, 'cluster.yaml')), layoutRules)
      assert.ok('problems' in parsed, `${value} is taken`)
      for (const { line, message } of parsed.problems) {
        assert.ok(line >= (key === 'name' ? 1 : 2) && message.startsWith(`${key} `), message)
        assert.ok(message.length < 300, 'a long value is shown short')
        assert.doesNotMatch(message, /\p{Cc}/u)
      }
    }
  })

describe('what is carried through to nodes', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  const suite = labPlace('control0')
  const { place } = suite

  const deploy = (node: Record<string, unknown>, ...more: Edit[]) => {
    writeCluster(place, [...edits, ...labEdits(suite.lab), [['nodes'], [{ ...control, ...node }]], ...more])
    return harderway(place, 'deploy', '--json')
  }

  const directories = [
    ...["it's", '"quoted" $HOME', '$(touch x)', '`touch x`', 'a;touch x', 'a&b|c(x)<y>', 'back\\slash', 'żółć 日本'],
    ...['-leading', '--', 'x y/z w', 'a*b?[c]{a,b}', '#1', '!x', '~', 'a:b', "a'\\''b", '%h%d'],
    ...[`.${'x'.repeat(200)}`, ' leading', 'a\u202eb', 'z/', 'a b \u00a0'],
  ]

  test('directories of one node each, all on one machine: each gets its files, and nothing else is made', async () => {
    const nodes = directories.map((name, i) => ({
      ...{ name: `n${i}`, role: i === 0 ? 'control' : 'worker', ip: `192.168.2.${i + 1}`, host: 'control0' },
      directory: `~/${name}`,
    }))
    writeCluster(place, [...edits, ...labEdits(suite.lab), [['nodes'], nodes], [['ssh', 'concurrency'], 4]])
    const deployed = async (type: string) =>
      idsOf(await harderway(place, 'deploy', '--json'), type).filter((id) => id.startsWith('deploy/'))
    const ids = nodes.map(({ name }) => `deploy/${name}`).toSorted()
    assert.deepEqual((await deployed('built')).toSorted(), ids)
    assert.deepEqual((await deployed('fresh')).toSorted(), ids)
    const { home } = suite.lab.node('control0')
    for (const [i, name] of directories.entries())
      for (const file of ['ca.pem', `n${i}-key.pem`, `n${i}.kubeconfig`])
        assert.ok(readFileSync(join(home, name, file)).equals(readFileSync(join(place, 'auth', file))), name + file)
    const made = directories.map((name) => name.split('/')[0] ?? '')
    assert.deepEqual(readdirSync(home).toSorted(), ['.bashrc', '.zshenv', ...made].toSorted())
    for (const folder of [place, process.cwd()]) assert.ok(!existsSync(join(folder, 'x')))
  })

  test('a host and a user that are odd but legal reach ssh as they are', async () => {
    const wrapper = join(place, 'proxy with blank')
    writeFileSync(wrapper, `#!/bin/sh\nprintf '%s\\n' "$@" > '${join(place, 'asked')}'\nexit 1\n`, { mode: 0o755 })
    const config = sshEdit(place, [`ProxyCommand "${wrapper}" %h %r`])
    for (const [host, user] of [
      ['a.b-c_d', 'DOMAIN_x@corp.example'],
      ['fe80::1%eth0', '0x'],
      ['_x', 'a.b-c'],
    ] as const) {
      const ran = await deploy({ host }, config, [['ssh', 'user'], user])
      assert.equal(ran.status, 1)
      assert.equal(readFileSync(join(place, 'asked'), 'utf8').split('\n')[1], user)
      assert.match(readFileSync(join(place, 'asked'), 'utf8'), new RegExp(`^${host.replace(/%.*/, '')}`))
    }
  })
})
