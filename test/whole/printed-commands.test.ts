/** Every command that a message prints to be typed is understood: none is bad usage. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parseCommandLine } from '../../tasks/cli.ts'
import { scratch } from '../support/files.ts'
import { type Edit, entry, harderway, holdAuth, madePlace, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const root = join(import.meta.dirname, '../..')
const edits: readonly Edit[] = [
  [['etcd', 'ca'], 'own'],
  [['aggregation'], true],
  [['install'], true],
  [['users'], [{ name: 'jane' }]],
]
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** From an opening quote or bracket to its end; `at` is the character after it. */
function skip(text: string, at: number, end: string): number {
  let i = at
  for (; i < text.length && text[i] !== end; i++) {
    const char = text[i] ?? ''
    if (char === '\\') i++
    else if (end === '`' && text.startsWith('${', i)) i = skip(text, i + 2, '}')
    else if (end !== '`' && end !== "'" && end !== '"') {
      const close = { '(': ')', '{': '}', '[': ']', '`': '`', "'": "'", '"': '"' }[char]
      if (close) i = skip(text, i + 1, close)
    }
  }
  return i
}

/** The string literals of an expression that are not inside another one. */
function literalsIn(text: string): string[] {
  const found: string[] = []
  for (let i = 0; i < text.length; i++) {
    const quote = text[i] ?? ''
    if (!"'`".includes(quote)) continue
    const end = skip(text, i + 1, quote)
    found.push(text.slice(i + 1, end))
    i = end
  }
  return found
}

/** What an expression in a printed command may stand for. Where it chooses between texts: each of them. */
function samplesOf(code: string): string[] {
  if (/--node/.test(code) || /^(nodes|options|nodeOptions\(.*\))$/.test(code)) return ['--node control0']
  const choices = literalsIn(code)
  if (code.includes(' ? ') && choices.length > 0) return choices
  if (/(^|\.)name$/.test(code)) return ['ca']
  if (['identity', 'rotationOf(target)'].includes(code)) return ['ca']
  if (code.endsWith('names.tokens')) return ['service-account']
  if (code === 'etcdCaName') return ['etcd-ca']
  if (code === 'rotation.name') return ['ca']
  if (code === 'typedAgain(drive)') return ['rotate ca', 'rotate ca --finish']
  if (code === 'phases') return ['deploy', 'deploy install']
  if (code === 'folder') return ['DIR']
  if (code === 'task') return ['bootstrap', 'certs --node worker0']
  if (code === 'again') return ['ca --force']
  if (['id', 'ids', 'row.id'].includes(code)) return ['component-certs/service-account']
  throw new Error(`say in samplesOf what \${${code}} may be in a printed command`)
}

/** `rotate ${name} --undo`, as each line that it may become. */
function expand(template: string): string[] {
  const at = template.indexOf('${')
  if (at < 0) return [template]
  const end = skip(template, at + 2, '}')
  const rest = expand(template.slice(end + 1))
  const [before, code] = [template.slice(0, at), template.slice(at + 2, end)]
  const samples = before.endsWith('--node ') ? ['control0'] : samplesOf(code)
  return samples.flatMap((sample) => rest.map((more) => `${before}${sample}${more}`))
}

/** From the calls that format a command. */
function printedBy(file: string): string[] {
  const code = read(file).replace(/^ *(\/\/|\/?\*).*$/gm, '')
  return [...code.matchAll(/\b(?:command|formatCommand)\(/g)].flatMap(({ 0: call, index }) => {
    const from = index + call.length
    const templates = literalsIn(code.slice(from, skip(code, from, ')'))).filter((text) => /[a-z]/.test(text))
    return templates
      .flatMap(expand)
      .map((task) =>
        task.replace('COMMAND', 'status').replace('--node NAME', '--node control0').replace(' --config FILE', ''),
      )
  })
}

const printed = new Map(
  globSync('{lib,tasks}/**/*.ts', { cwd: root })
    .flatMap(printedBy)
    .map((task): [string, string[]] => [task.trim(), task.trim().split(/\s+/)]),
)

test('printed commands are found in messages', () => {
  assert.ok(printed.size > 20, [...printed.keys()].join('\n'))
  for (const task of ['rotate ca --undo']) assert.ok(printed.has(task), task)
})

describe('a printed command, tried while another run holds auth/,', () => {
  const place = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')
  let release: () => void

  before(async () => {
    release = await holdAuth(join(place, 'auth'))
  })
  after(() => release())

  for (const [task, args] of printed)
    test(`is understood: "${task}"`, async () => {
      const { command, options } = parseCommandLine(args)
      if (command.isWithoutCluster) return
      const isWaiting =
        !['graph', 'schedule'].includes(command.name) && !options.help && !options.list && !options.version
      const { status, stdout, stderr } = await harderway(
        place,
        ...args,
        ...(isWaiting ? ['--no-lock-wait'] : []),
        ...(command.name === '' ? ['--yes'] : []),
      )
      assert.equal(status, isWaiting ? 1 : 0, stdout + stderr)
      // A backup is no auth/ that another run holds.
      const why = command.name === 'verify' && options.from ? /does not exist/ : /\.lock is held by process/
      if (isWaiting) assert.match(stdout + stderr, why)
    })
})

describe("the clone's executable, from another folder,", () => {
  const own = join(root, 'cluster.yaml')
  const executable = join(root, 'bin/harderway')
  const call = (place: string, command: string, path = '') => {
    const env = { PATH: [path, process.env.PATH].join(delimiter), HOME: place, INIT_CWD: '/' }
    const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: place, env, encoding: 'utf8' })
    return { status, stdout, stderr }
  }

  test('prints its commands as it was started, by its path or by its name on the PATH', (t) => {
    const place = scratch(t)
    const bin = join(place, 'its bin')
    mkdirSync(bin)
    symlinkSync(executable, join(bin, 'harderway'))
    for (const [typed, path] of [
      [executable],
      ["'its bin/harderway'"],
      ["'./its bin/harderway'"],
      ['harderway', bin],
    ] as const) {
      const { status, stderr } = call(place, `${typed} certs --frce`, path)
      assert.equal(status, 2, stderr)
      const [, printed = ''] = /\n {6}(.*)\n$/.exec(stderr) ?? []
      assert.equal(printed, `${typed} --help`)
      assert.equal(call(place, printed, path).status, 0, printed)
    }
  })

  test('takes the cluster.yaml of that folder, else of a folder above, and then says so first', (t) => {
    const place = scratch(t)
    const below = mkdirSync(join(place, 'below', 'that'), { recursive: true }) ?? ''
    const none = call(place, `${executable} certs`)
    assert.deepEqual([none.status, none.stdout], [2, ''])
    assert.match(
      none.stderr,
      /^no cluster\.yaml in \S+ or a directory above\n.*--config FILE, or create one:\n.* init DIR\n$/,
    )
    writeCluster(place)
    const here = call(place, `${executable} bootstrap --dry-run --offline`)
    assert.equal(here.stderr, '')
    assert.equal(call(place, `${executable} graph --quiet`).stderr, '')
    assert.match(here.stdout, new RegExp(`^kubenet: ${place}/cluster.yaml, `))
    for (const command of ['graph', 'graph --quiet']) {
      const { status, stderr } = call(join(below, 'that'), `${executable} ${command}`)
      assert.equal(stderr, `using ${place}/cluster.yaml; this directory has no cluster.yaml\n`)
      assert.equal(status, 0)
    }
    symlinkSync('nowhere', join(below, 'cluster.yaml'))
    assert.equal(call(join(below, 'that'), `${executable} graph`).status, 2)
  })

  test('leaves out --config in that folder; a timer, which runs Node, is told it: npm would take the cluster.yaml of the clone', (t) => {
    const place = scratch(t)
    writeCluster(place)
    const [byTimer, here] = [`${process.execPath} ${entry}`, executable].map((start) =>
      call(place, `${start} certs --dry-run --config ${place}/cluster.yaml`),
    )
    assert.match(byTimer?.stdout ?? '', new RegExp(`npm .*run task -- certs --config ${place}/cluster\\.yaml\\b`))
    assert.doesNotMatch(here?.stdout ?? '', /--config/)
  })

  test("says of the clone's own cluster.yaml, once, that it is an example: when it makes a CA, and in status, until it is edited", (t) => {
    const place = scratch(t)
    const file = join(place, 'cluster.yaml')
    copyFileSync(own, file)
    const warning = `${file} is the unedited example; name your own with --config FILE, or create one:`
    const says = (command: string) => call(place, `${executable} ${command}`).stdout.includes(warning)
    assert.deepEqual(['graph', 'certs --dry-run', 'certs', 'certs', 'status', 'status --json'].map(says), [
      false,
      false,
      true,
      false,
      true,
      true,
    ])
    writeFileSync(file, readFileSync(own, 'utf8').replace('192.168.1.11', '192.168.1.31'))
    assert.equal(says('status'), false)
  })

  test('has no complaint of shellcheck', { skip: needs('shellcheck') }, () => {
    execFileSync('shellcheck', [executable])
  })
})
