/** Kubernetes and etcd of today stand in versions.json: the workflow takes them from there, and pages name the same. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { needs } from '../support/programs.ts'
import versions from './versions.json' with { type: 'json' }

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const [, rows = ''] = read('docs/versions.md').split('\n## Kubernetes versions\n')
/** The cells of each row of the table of versions. */
const table = (rows.split(/^#+ /m)[0] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.split(/ *\| */).slice(1, -1))
const { jobs } = parse(read('.github/workflows/test.yaml'))

test('docs/versions.md has a row for each Kubernetes of versions.json, and one for the stand-in', () => {
  for (const { kubernetes: version } of versions.machines)
    assert.ok(
      table.some(([names = '']) => names.split(', ').some((name) => `${name}.`.startsWith(`${version}.`))),
      version,
    )
  const [, , ran = ''] = table.find(([name]) => name === 'a stand-in') ?? []
  assert.ok(ran.includes(`of ${versions.standIn}`), ran)
})

test('it names the versions that the workflow is set up for', () => {
  const pairs = [...Map.groupBy(versions.machines, ({ etcd }) => etcd)].map(
    ([etcd, of]) => `${of.map(({ kubernetes }) => kubernetes).join(' and ')} with etcd ${etcd}`,
  )
  const page = read('docs/versions.md').replace(/\s+/g, ' ')
  assert.ok(page.includes(`Kubernetes ${pairs.join(', ')}`), `${pairs}`)
})

test('etcd 3.5 is run with no Kubernetes that kubeadm gives a newer one', () => {
  for (const { kubernetes, etcd } of versions.machines) assert.ok(etcd !== '3.5' || kubernetes < '1.36', kubernetes)
})

test('the workflow reads them there, and nowhere else', { skip: needs('jq') }, () => {
  const { matrix } = jobs.machines.strategy
  const { outputs, steps } = jobs.versions
  const { run = '' }: { run?: string } = steps.find(({ id }: { id?: string }) => id === 'read') ?? {}
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const script = run.replace('>>"$GITHUB_OUTPUT"', '')
  const printed = execFileSync('sh', ['-c', script], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the workflow
  assert.deepEqual(matrix, { include: '${{ fromJSON(needs.versions.outputs.machines) }}' })
  // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the workflow
  assert.deepEqual(outputs, { machines: '${{ steps.read.outputs.machines }}' })
  assert.deepEqual(printed, [`machines=${JSON.stringify(versions.machines)}`])
  assert.doesNotMatch(JSON.stringify(jobs.machines), /\b(1\.3\d|3\.[5-9])\b/)
})
