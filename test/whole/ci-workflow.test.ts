/**
 * docs/ci-workflow.yaml: the shell of each step, in an environment that holds what GitHub gives it and nothing else.
 */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { type Lab, startLab } from '../lab/lab.ts'
import { type Edit, entry, exits, makePlace, oneOfEach, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

interface Step {
  readonly name?: string
  readonly run?: string
  readonly env?: Readonly<Record<string, string>>
  readonly if?: string
}

const workflow = readFileSync(join(dirname(entry), '../docs/ci-workflow.yaml'), 'utf8')
const { jobs, defaults } = parse(workflow) as {
  jobs: Record<'review' | 'plan' | 'run', { steps: readonly Step[]; outputs?: Record<string, string> }>
  defaults: unknown
}

describe('docs/ci-workflow.yaml', {
  skip: needs('age', 'age-keygen', 'git', 'npm', 'npx', 'tar', 'ssh-agent', 'ssh-add', 'ssh', 'scp', 'sshd'),
}, () => {
  let place: string
  let lab: Lab
  let secrets: Record<string, string>
  /** Of when there was nothing to do. */
  let settled: Awaited<ReturnType<typeof runJob>>
  const git = (cwd: string, ...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], { cwd, stdio: 'pipe' })
  const inPlace = (...names: string[]) => join(place, ...names)
  const program = (name: string, script: string) =>
    writeFileSync(inPlace(name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })

  /** The repository as docs/automation.md has it, with nodes that are up. */
  before(async () => {
    place = makePlace()
    for (const name of ['bin', 'work', 'work/vendor', 'home/.ssh', 'package']) mkdirSync(inPlace(name))
    program('bin/sudo', 'exec "$@"')
    program('bin/apt-get', 'echo "$@" >> "$HOME/installed"')
    program('bin/gh', '[ "$4" = --edit-last ] && exit 1; echo "$@" > "$HOME/gh"; cp "$5" "$HOME/comment.md"')
    symlinkSync(process.execPath, inPlace('bin/node'))
    const nodes = ['control0', 'worker0', 'gateway'].map((name) => ({ name }))
    lab = await startLab({ dir: inPlace('lab'), nodes })
    // ssh has another home than $HOME; the key comes from the agent alone.
    const options = `HostName 127.0.0.1\nIdentityFile none\nUserKnownHostsFile ${inPlace('home/.ssh/known_hosts')}\n`
    const hosts = lab.nodes.map(({ name, port }) => `Host ${name}\nPort ${port}\n${options}`)
    writeFileSync(inPlace('work/ssh_config'), hosts.join(''))
    execFileSync('age-keygen', ['-o', inPlace('key.txt')], { stdio: 'pipe' })
    writeFileSync(inPlace('work/recipients.txt'), execFileSync('age-keygen', ['-y', inPlace('key.txt')]))
    const [key = ''] = /AGE-SECRET-KEY-\S+/.exec(readFileSync(inPlace('key.txt'), 'utf8')) ?? []
    secrets = { AGE_KEY: key, SSH_KEY: readFileSync(inPlace('lab/client_key'), 'utf8').trimEnd() }
    writeFileSync(inPlace('work/known_hosts'), readFileSync(lab.knownHosts))
    writePackage()
    writeFileSync(inPlace('work/.gitignore'), 'auth\nnode_modules\n')
    writeWanted()
    await exits(0, inPlace('work'), 'certs', 'kubeconfigs', 'encryption-key')
    const encrypt = 'tar -czf - -C auth . | age -R recipients.txt -o auth.tar.gz.age && rm -r auth'
    execFileSync('/bin/sh', ['-c', encrypt], { cwd: inPlace('work') })
    git(inPlace('work'), 'init', '-qb', 'main')
    git(place, 'init', '-q', '--bare', '-b', 'main', 'origin')
    git(inPlace('work'), 'remote', 'add', 'origin', inPlace('origin'))
    push()
  })
  after(async () => {
    await lab?.stop()
    rmSync(place, { recursive: true, force: true })
  })

  /** `npm ci` of a package whose program is this clone's. */
  function writePackage() {
    const packageIn = (folder: string, fields: object) =>
      writeFileSync(inPlace(folder, 'package.json'), JSON.stringify({ version: '1.0.0', ...fields }))
    packageIn('work/vendor', { name: 'harderway', bin: { harderway: 'run.js' } })
    program('work/vendor/run.js', `exec ${process.execPath} ${entry} "$@"`)
    packageIn('work', { name: 'theirs', devDependencies: { harderway: 'file:vendor' } })
    const npm = ['install', '--package-lock-only', '--offline', '--no-audit', '--no-fund']
    execFileSync('npm', npm, { cwd: inPlace('work'), stdio: 'pipe' })
  }

  function writeWanted(...edits: Edit[]) {
    const ssh: Edit[] = [
      [['ssh', 'configFile'], './ssh_config'],
      [['ssh', 'user'], execFileSync('id', ['-un'], { encoding: 'utf8' }).trim()],
    ]
    writeCluster(inPlace('work'), [...oneOfEach, ...ssh, ...edits])
  }

  function push() {
    git(inPlace('work'), 'add', '-A')
    git(inPlace('work'), 'commit', '-qm', 'a change')
    git(inPlace('work'), 'push', '-q', '-u', 'origin', 'main')
  }

  /** The steps of a job in a new checkout, as GitHub's runner does them. */
  async function runJob(name: keyof typeof jobs, expressions: Readonly<Record<string, string>> = {}) {
    const checkout = inPlace('checkout')
    rmSync(checkout, { recursive: true, force: true })
    git(place, 'clone', '-q', 'origin', 'checkout')
    const [GITHUB_ENV, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY] = [inPlace('env'), inPlace('output'), inPlace('summary')]
    for (const file of [GITHUB_ENV, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY]) writeFileSync(file, '')
    const given: Readonly<Record<string, string | undefined>> = {
      ...expressions,
      'secrets.AGE_KEY': secrets.AGE_KEY,
      'secrets.SSH_KEY': secrets.SSH_KEY,
    }
    const pairs = (file: string) =>
      Object.fromEntries(
        [...readFileSync(file, 'utf8').matchAll(/^(\w+)=(.*)$/gm)].map(([, name, text]) => [name, text]),
      )
    const [failed, said]: [string[], string[]] = [[], []]
    for (const step of jobs[name].steps) {
      if (step.run === undefined || (failed.length > 0 && !step.if?.includes('always()'))) continue
      const own = Object.entries(step.env ?? {}).map(([key, value]) => [
        key,
        value.replace(/\$\{\{ (\S+) \}\}/g, (_, expression) => given[expression] ?? assert.fail(expression)),
      ])
      const env = {
        PATH: `${inPlace('bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        HOME: inPlace('home'),
        ...{ GITHUB_ENV, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY },
        ...pairs(GITHUB_ENV),
        ...Object.fromEntries(own),
      }
      const script = step.run.replaceAll('/dev/shm/auth', inPlace('memory'))
      const bash = ['--noprofile', '--norc', '-eo', 'pipefail', '-c']
      const status = await new Promise((resolve) =>
        execFile('bash', [...bash, script], { cwd: checkout, env }, (error, stdout, stderr) => {
          said.push(stdout + stderr)
          resolve(error?.code ?? 0)
        }),
      )
      if (status !== 0) failed.push(String(step.name))
    }
    const lines = Object.values(secrets).flatMap((secret) => secret.split('\n').filter(({ length }) => length > 40))
    assert.ok(!lines.some((line) => said.join('').includes(line)), 'a secret is printed')
    assert.ok(!existsSync(inPlace('memory')))
    const summary = readFileSync(GITHUB_STEP_SUMMARY, 'utf8')
    return { failed, said: said.join(''), outputs: pairs(GITHUB_OUTPUT), summary }
  }

  const approved = ({ outputs: { hash = '', commit = '' } }: Awaited<ReturnType<typeof runJob>>) =>
    runJob('run', { 'needs.plan.outputs.hash': hash, 'needs.plan.outputs.commit': commit })
  const addName = (name: string) => {
    git(inPlace('work'), 'pull', '-q', '--rebase')
    writeWanted([['api', 'extraSANs'], [name]])
    push()
  }

  test('has steps that run in the shell which they are tried in', () => {
    assert.deepEqual(defaults, { run: { shell: 'bash' } })
    assert.deepEqual(Object.keys(jobs), ['review', 'plan', 'run'])
  })

  test('a pull request has the plan of auth/ in a comment', async () => {
    addName('a.example.org')
    const done = await runJob('review', { 'github.token': 'token', 'github.event.pull_request.number': '7' })
    assert.deepEqual(done.failed, [], done.said)
    assert.equal(readFileSync(inPlace('home/gh'), 'utf8'), 'pr comment 7 --body-file plan.md\n')
    const comment = readFileSync(inPlace('home/comment.md'), 'utf8')
    assert.match(comment, /^````text\nkubenet: .*, 3 nodes\n/)
    assert.match(comment, /\n````\n$/)
    assert.match(comment, /adds SAN a\.example\.org/)
    assert.match(comment, /not inspected: control0, worker0, gateway/)
  })

  test('once merged, the plan of everything is in the summary, and what was approved is done and kept', async () => {
    const plan = await runJob('plan')
    assert.deepEqual([plan.failed, plan.outputs.status], [[], '4'], plan.said)
    assert.match(plan.summary, /copy ca\.pem/)
    const ran = await approved(plan)
    assert.deepEqual(ran.failed, [], ran.said)
    assert.ok(existsSync(join(lab.node('worker0').home, 'worker0-key.pem')))
    settled = await runJob('plan')
    assert.deepEqual([settled.failed, settled.outputs.status], [[], '0'], settled.said)
  })

  test('a plan that changed between the approval and the run is refused, and no node gets anything', async () => {
    rmSync(join(lab.node('worker0').home, 'worker0-key.pem'))
    const before = readFileSync(join(lab.node('control0').home, 'kubernetes.pem'))
    const ran = await approved(settled)
    assert.deepEqual(ran.failed, ['Run'])
    assert.match(ran.said, /the plan has changed to [0-9a-f]{64}; nothing was done/)
    assert.ok(before.equals(readFileSync(join(lab.node('control0').home, 'kubernetes.pem'))))
  })

  test('nothing is installed or run if more was merged after the plan', async () => {
    addName('b.example.org')
    const ran = await approved(settled)
    assert.deepEqual(ran.failed[0], 'Nothing else was merged')
    assert.ok(!existsSync(inPlace('checkout/node_modules')))
  })

  test('where a node can not be reached there is no plan to approve', async () => {
    await lab.node('gateway').stop()
    const plan = await runJob('plan')
    assert.deepEqual([plan.failed, plan.outputs.hash], [['Plan'], ''], plan.said)
    assert.match(plan.summary, /gateway: connection refused/)
  })

  for (const [title, make] of [
    ['a file in auth/', () => writeFileSync(inPlace('work/auth/ca-next.pem'), '')],
    ['a link that has its name', () => symlinkSync('elsewhere', inPlace('work/auth'))],
  ] as const)
    test(`${title} that came with the checkout ends a job before auth/ is decrypted`, async () => {
      git(inPlace('work'), 'pull', '-q', '--rebase')
      if (title.startsWith('a file')) mkdirSync(inPlace('work/auth'))
      make()
      git(inPlace('work'), 'add', '-f', 'auth')
      push()
      const plan = await runJob('plan')
      git(inPlace('work'), 'rm', '-rqf', 'auth')
      push()
      assert.deepEqual([plan.failed[0], plan.outputs.hash], ['Open auth/ in memory', undefined], plan.said)
      assert.match(plan.said, /::error::auth is in the repository/)
    })
})
