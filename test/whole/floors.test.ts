/** The folders, as the compiler sees their imports: each imports only what stands below it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** From the lowest up; those that stand together are on one floor. */
const floors = [
  ...['lib', 'lib/files', 'lib/cluster', 'lib/pki', 'lib/kubernetes', 'lib/node', 'lib/graph', 'lib/show'],
  // What a target of this program is: the run that it is given, and what is known of it.
  'tasks/target.ts',
  // The guide's chapter, which knows nothing of what runs.
  ...['tasks/layouts', 'tasks/auth', 'tasks/inspect', 'tasks/deploy', 'tasks/phases'],
  // Day 2: the list of who is revoked is a file that units read, and an install is what lists a key.
  ['tasks/day2/install', 'tasks/day2/revoked'],
  'tasks/bootstrap.ts',
  ...['tasks/day2/rotations', 'tasks/run', 'tasks/views'],
  ...['tasks/commands/report', 'tasks/commands', 'tasks'],
].map((each) => [each].flat())

interface Import {
  readonly from: string
  readonly to: string
}

/** https://www.typescriptlang.org/tsconfig/#explainFiles; imports of types count. */
const told = execFileSync(join(root, 'node_modules/.bin/tsc'), ['--explainFiles', '--noCheck'], {
  ...{ cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 },
})

function readImports(): Import[] {
  return [...told.matchAll(/Imported via '(\.[^']+)' from file '((?:lib|tasks)\/[^']+)'/g)].map(
    ([, to = '', from = '']) => ({
      from,
      to: join(dirname(from), to),
    }),
  )
}

/** The folders on a way from the folder back to it; none where there is no such way. */
function findCircle(imports: readonly Import[]): string[] {
  const edges = Map.groupBy(imports, ({ from }) => from)
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return []
    for (const { to } of edges.get(file) ?? []) {
      const circle = visit(to, [...path, file])
      if (circle.length > 0) return circle
    }
    done.add(file)
    return []
  }
  return [...edges.keys()].map((file) => visit(file, [])).find((circle) => circle.length > 0) ?? []
}

const imports = readImports()
/** Its folder; a file that is a floor of its own is its own place. */
const placeOf = (file: string) => (floors.flat().includes(file) ? file : dirname(file))

test('each folder of lib/ and tasks/ has its floor', () => {
  assert.ok(imports.length > 500, `${imports.length} imports`)
  const places = new Set(imports.flatMap(({ from, to }) => [from, to].map(placeOf)))
  assert.deepEqual([...places].toSorted(), floors.flat().toSorted())
})

test('no folder imports from one above it, and so lib/ nothing from tasks/', () => {
  const floorOf = (file: string) => floors.findIndex((each) => each.includes(placeOf(file)))
  const upwards = imports.filter(({ from, to }) => floorOf(to) > floorOf(from))
  assert.deepEqual(upwards, [])
})

test('the graph knows targets alone, and nothing of what they do', () => {
  const beside = imports.filter(({ from, to }) => dirname(from) === 'lib/graph' && dirname(to) !== 'lib/graph')
  const known = ['lib/failure.ts', 'lib/results.ts', 'lib/wording.ts']
  assert.deepEqual(
    beside.filter(({ to }) => !known.includes(to)),
    [],
  )
  const texts = globSync('lib/graph/*.ts', { cwd: root }).map((file) => readFileSync(join(root, file), 'utf8'))
  assert.doesNotMatch(
    texts.join(),
    /\b(auth|ca|node|kubeconfig|cluster|certificate|install|deploy)s?\b(?!:)|rotat|drain|reload|revok/i,
  )
})

test('no file imports itself, by whatever way', () => {
  assert.deepEqual(findCircle(imports), [])
})

test('each file of TypeScript is type-checked', () => {
  const checked = new Set(told.match(/^\S+\.ts$/gm))
  const ours = globSync('{lib,scripts,tasks,test}/**/*.ts', { cwd: root })
  assert.deepEqual(
    ours.filter((file) => !checked.has(file)),
    [],
  )
})

test('each name of a type has one definition in lib/ and tasks/', () => {
  const definitions = globSync('{lib,tasks}/**/*.ts', { cwd: root }).flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/^ *(?:export )?(?:interface|type|class) (\w+).*[{=|]/gm)].map(
      ([, name = '']) => ({ name, file }),
    ),
  )
  assert.ok(definitions.length > 100, `${definitions.length} definitions`)
  const twice = [...Map.groupBy(definitions, ({ name }) => name).values()].filter(({ length }) => length > 1)
  assert.deepEqual(twice.flat(), [])
})
