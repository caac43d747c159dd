/** `completion`: what is offered after which words, and that bash and zsh complete by it when tab is pressed. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Edit, harderway, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const edits: readonly Edit[] = [[['users'], [{ name: 'jane@example.org' }]]]

function prepare(t: TestContext): string {
  const place = scratch(t)
  mkdirSync(join(place, 'home'))
  writeCluster(place, edits)
  return place
}

async function offersFor(place: string, ...words: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await harderway(place, 'completion', 'bash', '--', ...words)
  assert.deepEqual([status, stderr], [0, ''])
  return stdout.split('\n').slice(0, -1)
}

test('commands, phases, their groups and their targets are offered, targets only after a first letter', async (t) => {
  const place = prepare(t)
  const first = await offersFor(place, '')
  for (const word of ['bootstrap', 'certs', 'kubeconfigs', 'status', 'completion'])
    assert.ok(first.includes(word), word)
  assert.deepEqual(
    first.filter((word) => word.includes('/')),
    [],
  )
  assert.deepEqual(await offersFor(place, 're'), ['report', 'recover'])
  assert.deepEqual(
    await offersFor(place, 'node-certs/worker'),
    ['0', '1', '2'].map((i) => `node-certs/worker${i}`),
  )
  // Another target may follow a target; no command may.
  assert.deepEqual(await offersFor(place, 'ca', 'status'), [])
  assert.deepEqual(await offersFor(place, 'ca', 'encr'), ['encryption-key'])
})

test('options are offered that the command takes, each once, and nodes after --node', async (t) => {
  const place = prepare(t)
  assert.deepEqual(await offersFor(place, 'status', '--no'), ['--node', '--no-lock-wait'])
  assert.deepEqual(await offersFor(place, 'status', '--on-nodes', '--o'), [])
  assert.deepEqual(await offersFor(place, 'status', '--f'), [])
  assert.deepEqual(await offersFor(place, 'graph', '--f'), ['--format'])
  assert.deepEqual(await offersFor(place, '--l'), ['--list'])
  assert.deepEqual(await offersFor(place, 'deploy', '--node', 'worker0', '--node', 'control'), [
    'control0',
    'control1',
    'control2',
  ])
  assert.deepEqual(await offersFor(place, 'rotate', 's'), ['service-account'])
  assert.deepEqual(await offersFor(place, 'rotate', 'ca', ''), [])
  assert.deepEqual(await offersFor(place, 'init', ''), [])
})

test('names come from the cluster.yaml that --config names, and a broken one has none', async (t) => {
  const place = prepare(t)
  const other = join(place, 'home/other')
  mkdirSync(other)
  writeCluster(other, [[['nodes'], [{ name: 'c9', role: 'control', ip: '10.0.0.9' }]]])
  for (const config of [
    ['--config', `${other}/cluster.yaml`],
    ['--config=home/other/cluster.yaml'],
    ['--config', '~/other/cluster.yaml'],
  ])
    assert.deepEqual(await offersFor(place, ...config, 'deploy', '--node', ''), ['c9'])
  assert.deepEqual(await offersFor(place, '--config', ''), [])
  writeFileSync(join(place, 'cluster.yaml'), 'nodes: [')
  assert.deepEqual(await offersFor(place, 'deploy', '--node', ''), [])
  assert.deepEqual(await offersFor(place, 'stat'), ['status'])
})

test('a shell that is not known is a mistake', async (t) => {
  for (const shell of [[], ['fish'], ['toString']]) {
    const { status, stderr } = await harderway(prepare(t), 'completion', ...shell)
    assert.equal(status, 2)
    assert.match(stderr, /completion needs a shell: bash or zsh\n {4}npm run task -- completion --help/)
  }
})

const shells = {
  bash: { command: 'bash --norc --noprofile -i', begin: '' },
  zsh: { command: 'zsh -f -i', begin: 'setopt no_prompt_sp; autoload -Uz compinit && compinit -u -D; ' },
}
/** What is typed before tab is pressed, and what it becomes. */
const completed = {
  'harderway stat': 'harderway status',
  'harderway rotate se': 'harderway rotate service-account',
  'true; harderway deploy --node worker0 --node control1': 'true; harderway deploy --node worker0 --node control1',
  'harderway deploy --node wor': 'harderway deploy --node worker',
  'harderway certs --replace-identity --dry': 'harderway certs --replace-identity --dry-run',
  'harderway user-certs/jane@ex': 'harderway user-certs/jane@example.org',
  'harderway status --config clus': 'harderway status --config cluster.yaml',
}

for (const [name, { command, begin }] of Object.entries(shells))
  test(`${name} completes a command line when tab is pressed`, {
    skip: needs(name, 'script'),
    // A shell that shows something else asks, and waits for an answer.
    timeout: 60_000,
  }, async (t) => {
    const place = prepare(t)
    const { stdout } = await harderway(place, 'completion', name)
    writeFileSync(join(place, 'script'), stdout.replace(/cd \S+/, `cd ${place}`))
    const env = { PATH: process.env.PATH, HOME: join(place, 'home'), TERM: 'dumb', PS1: 'ready> ' }
    const shell = spawn('script', ['-qfec', command, '/dev/null'], { cwd: place, env })
    t.after(() => shell.kill())
    let said = ''
    const until = (pattern: RegExp) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (pattern.test(said)) resolve()
        }
        look()
        shell.stdout.on('data', look)
        shell.on('close', () => reject(new Error(said)))
      })
    shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    await until(/ready> /)
    shell.stdin.write(`${begin}. ./script; echo loaded\n`)
    await until(/^loaded\r?\n.*ready> /ms)
    for (const [typed, line] of Object.entries(completed)) {
      said = ''
      // Ctrl-A and Ctrl-E go to both ends of the line: the shell prints what it would have run.
      shell.stdin.write(`${typed}\t\x01echo 'completed: \x05'\n`)
      await until(/^completed: .*ready> /ms)
      assert.equal(/^completed: (.*?)\s*$/m.exec(said)?.[1], line, said)
    }
    shell.stdin.write('exit\n')
    await once(shell, 'close')
  })
