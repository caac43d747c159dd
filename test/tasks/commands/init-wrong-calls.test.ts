/** What init refuses; and that nothing is written then. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { callInit } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

/** What is said of it, with what to do in lines of its own. */
async function refused(...given: Parameters<typeof callInit>) {
  const { status, printed, stderr } = await callInit(...given)
  assert.deepEqual([status, printed], [2, []])
  const [text = '', remedy = ''] = stderr.trimEnd().split('\n    ')
  return { message: text.replace(/^cluster\.yaml would be invalid with .*:\n/, ''), remedy }
}

const aliases = `Host control0
  HostName 10.0.0.11
  User a
Host worker0 worker1
  HostName 10.0.0.12
  User b
`
const rest = ['--control', 'control0', '--virtual-ip', '10.0.0.21']

const rows: readonly (readonly [what: string, args: readonly string[], said: RegExp])[] = [
  [
    'no folder',
    rest,
    /^init needs one directory for the new cluster\.yaml; nodes are named by --control a,b,c --worker d,e$/,
  ],
  ['two folders', ['a', 'b', ...rest], /^init needs one directory/],
  ['--config', ['a', '--config', 'x.yaml', ...rest], /^--config can't be used with init/],
  ['no node', ['a'], /^no nodes given; add --control a,b,c --worker d,e, or --from AUTH of an existing cluster$/],
  ['no control node', ['a', '--worker', 'w'], /^--control is missing: a cluster has a control node$/],
  ['a comma at the end of --node', ['a', '--node', 'x,'], /^--node x,: a name is empty$/],
  ['a comma at the end', ['a', '--control', 'x,'], /^--control x,: a name is empty$/],
  ['an empty host', ['a', '--control', 'c='], /^--control c=: a name is empty$/],
  ['a blank between names', ['a', '--control', 'x, y'], /^nodes\[1\]\.name: " y" is not a node name/],
  [
    'an option to ssh as a name',
    ['a', '--control', 'c,-oProxyCommand=touch x'],
    /^nodes\[1\]\.name: "-oProxyCommand" is/,
  ],
  ['an option to ssh as a host', ['a', '--control', 'c=-oProxyCommand=touch x'], /^nodes\[0\]\.host: .* for ssh/],
  ['a command in a host', ['a', '--control', 'c=$(touch x)'], /^nodes\[0\]\.host: .* is not a host for ssh/],
  ['a user that is none', ['a', '--user', 'a b', ...rest], /^ssh\.user: "a b" is not a user name/],
  ['a layout that is none', ['a', '--layout', 'hard', ...rest], /^--layout hard: /],
  ['a folder whose name can be none', ['My_Cluster', ...rest], /^directory name My_Cluster .*; add --name NAME$/],
  ['an ssh_config that is not there', ['a', '--ssh-config', 'none', ...rest], /^can't read \S+\/none: no such file/],
  ['an ssh_config that is a folder', ['a', '--ssh-config', '.', ...rest], /^--ssh-config \S+ is not a regular file$/],
  ['a --from without a CA', ['a', '--from', '.', ...rest], /^--from \. has no readable ca\.pem$/],
  ['a folder that is a file', ['cfg/a', ...rest], /^can't (read|make) \S+\/cfg\/a.*: not a directory$/],
  [
    'an address twice',
    ['a', '--worker', 'worker0,worker1', '--user', 'u', ...rest],
    /^nodes\[2\]\.ip: "10\.0\.0\.12" is /,
  ],
]

for (const [what, args, said] of rows)
  test(`${what} is refused, and nothing is written`, { skip: needs('ssh') }, async (t) => {
    const folder = scratch(t)
    const { message } = await refused(folder, args, aliases)
    assert.match(message, said)
    assert.deepEqual(readdirSync(folder), ['cfg'])
  })

test('an ssh_config that ssh refuses is told as ssh says it', { skip: needs('ssh') }, async (t) => {
  const folder = scratch(t)
  const failure = await refused(folder, ['a', ...rest], 'Nonsense yes\n')
  assert.deepEqual(readdirSync(folder), ['cfg'])
  assert.match(
    failure.message,
    /^ssh can't read its configuration for control0 \(\S+\/cfg: line 1: Bad configuration option: nonsense\)$/,
  )
})

test('all mistakes are reported at once', async (t) => {
  const { message } = await refused(scratch(t), ['a', '--control', 'A,b.c', '--virtual-ip', 'x', '--user', ' '])
  const keys = message.split('\n').map((line) => line.split(':')[0])
  assert.deepEqual(keys.toSorted(), ['api.virtualIP', 'nodes[0].name', 'nodes[1].name', 'ssh.user'])
})

for (const [what, put] of [
  ['a cluster.yaml', (path: string) => writeFileSync(path, 'theirs')],
  ['a link to nothing', (path: string) => symlinkSync('nowhere', path)],
  ['a folder', (path: string) => mkdirSync(path)],
] as const)
  test(`where ${what} has that name already, nothing is written`, async (t) => {
    const folder = scratch(t)
    put(join(folder, 'cluster.yaml'))
    const failure = await refused(folder, ['.', ...rest])
    assert.match(failure.message, /^nothing was written: .*\/cluster\.yaml already exists$/)
    assert.match(failure.remedy, /: mv \S+\/cluster\.yaml \S+\/cluster\.yaml\.old$/)
    assert.deepEqual(readdirSync(folder).toSorted(), ['cfg', 'cluster.yaml'])
  })

test('the command that moves a cluster.yaml aside keeps those that were moved before', async (t) => {
  const folder = scratch(t)
  symlinkSync('nowhere', join(folder, 'cluster.yaml.old'))
  for (const content of ['first', 'second']) {
    writeFileSync(join(folder, 'cluster.yaml'), content)
    const { remedy } = await refused(folder, ['.', ...rest])
    execFileSync('sh', ['-c', remedy.slice(remedy.indexOf(': ') + 2)])
  }
  assert.deepEqual(
    ['cluster.yaml.old2', 'cluster.yaml.old3'].map((name) => readFileSync(join(folder, name), 'utf8')),
    ['first', 'second'],
  )
})
