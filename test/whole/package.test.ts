/**
 * The package, installed in a repository of somebody's own: what is in it, and that it does there what a clone does.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { before, describe, test } from 'node:test'
import { copySource } from '../support/files.ts'
import { entry, labEdits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const root = join(dirname(entry), '..')
const { version, dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

function run(cwd: string, [program, ...args]: readonly [string, ...string[]], env = process.env) {
  return new Promise<{ status: number; stdout: string; stderr: string }>((resolve) =>
    execFile(program, args, { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ status: error ? Number(error.code) : 0, stdout, stderr }),
    ),
  )
}

describe('the package', { skip: needs('npm', 'npx', 'tar', 'ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite
  let packed: {
    readonly filename: string
    readonly files: readonly { readonly path: string }[]
    readonly size: number
    readonly unpackedSize: number
  }
  const theirs = () => join(place, 'theirs')
  const filesPacked = () => packed.files.map(({ path }) => path).toSorted()
  /** By then the lab's ssh is on the PATH. */
  const env = () => ({ PATH: [dirname(process.execPath), process.env.PATH].join(delimiter), HOME: join(place, 'home') })
  const npx = (...args: readonly string[]) => run(theirs(), ['npx', 'harderway', ...args], env())
  /** Without npx, of which one start takes longer than the program. */
  const its = (...args: readonly string[]) => run(theirs(), ['node_modules/.bin/harderway', ...args], env())

  before(async () => {
    const source = join(place, 'source')
    copySource(source)
    const making = await run(source, ['npm', 'run', 'package'])
    assert.equal(making.status, 0, making.stdout + making.stderr)
    const packing = await run(source, ['npm', 'pack', './dist', '--silent', '--json', '--pack-destination', place])
    assert.equal(packing.status, 0, packing.stdout + packing.stderr)
    ;[packed] = JSON.parse(packing.stdout)
    mkdirSync(theirs())
    const asking = ['--save-dev', '--offline', '--no-audit', '--no-fund']
    const installing = await run(theirs(), ['npm', 'install', ...asking, join(place, packed.filename)])
    assert.equal(installing.status, 0, installing.stdout + installing.stderr)
    writeCluster(theirs(), [...oneOfEach, ...labEdits(suite.lab)])
  })

  test('holds what runs, with what the report, editors and readers need of it; no test, no lab', () => {
    const docs = readdirSync(join(root, 'docs')).filter((name) => /\.(json|md|yaml)$/.test(name))
    assert.deepEqual(
      filesPacked().filter((path) => !/^bin\/[\w-]+-[\w-]{8}\.js$/.test(path)),
      [
        ...['CHANGELOG.md', 'LICENSE', 'LICENSES', 'README.md', 'SECURITY.md', 'cluster.yaml', 'package.json'],
        ...['bin/main.js', 'bin/node.sh', 'bin/report.css'],
        ...docs.map((name) => `docs/${name}`),
      ].toSorted(),
    )
  })

  test('is all that is installed, without a registry: no Node, nothing else, a sixth of 12 MB', () => {
    const modules = join(theirs(), 'node_modules')
    assert.deepEqual(readdirSync(modules), ['.bin', '.package-lock.json', 'harderway'])
    assert.deepEqual(readdirSync(join(modules, '.bin')), ['harderway'])
    assert.ok(packed.size < 520_000 && packed.unpackedSize < 2_000_000, `${packed.size}, ${packed.unpackedSize} bytes`)
  })

  test('carries the licence of each package that is bundled', () => {
    const text = readFileSync(join(theirs(), 'node_modules/harderway/LICENSES'), 'utf8')
    const named = [...text.matchAll(/^(\S+) [\d.]+ \(.+\)\n\n(.+)/gm)].map(([, name]) => name)
    for (const name of Object.keys(dependencies)) assert.ok(named.includes(name), name)
  })

  test('has pages that name its own commands, and link to what is there', () => {
    for (const path of filesPacked().filter((path) => path.endsWith('.md'))) {
      const text = readFileSync(join(theirs(), 'node_modules/harderway', path), 'utf8')
      assert.doesNotMatch(text, /npm run (-s )?task|<img/, path)
      for (const [, link = ''] of text.matchAll(/\]\((?!\w+:)([^)\s#]+)[^)\s]*\)/g))
        assert.ok(existsSync(join(theirs(), 'node_modules/harderway', dirname(path), link)), `${link} in ${path}`)
    }
  })

  test('answers without a cluster.yaml, and names its commands as they are typed there', async () => {
    assert.equal((await npx('--version')).stdout, `${version}\n`)
    const { status, stdout } = await npx('--help')
    assert.equal(status, 0)
    assert.match(stdout, /^ {2}npx harderway bootstrap +runs every phase/m)
    assert.doesNotMatch(stdout, /npm run/)
    const wrong = await npx('certs', '--frce')
    assert.equal(wrong.status, 2)
    assert.match(wrong.stderr, /\n {6}npx harderway --help\n$/)
  })

  test('bootstraps a cluster, finds everything fresh after it, and reports', async () => {
    const first = await npx('bootstrap')
    assert.equal(first.status, 0, first.stdout + first.stderr)
    const on = (node: string) => readdirSync(suite.lab.node(node).home).filter((file) => !file.startsWith('.'))
    assert.deepEqual([on('control0').length, on('worker0').length, on('gateway')], [14, 5, ['ca.pem']])
    for (const args of [['bootstrap', '--dry-run'], ['status'], ['verify'], ['report']])
      assert.equal((await its(...args)).status, 0, args.join(' '))
    const page = readFileSync(join(theirs(), 'auth/report.html'), 'utf8')
    assert.ok(page.includes(readFileSync(join(root, 'tasks/commands/report.css'), 'utf8')))
  })
})
