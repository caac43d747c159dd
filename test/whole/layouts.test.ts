/** What a guide's cluster consists of is said in tasks/layouts/ alone. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { apiServer } from '../../tasks/layouts/layout.ts'
import { layouts } from '../../tasks/layouts/tables.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** The rotation and its files have this name too. */
const shared = 'service-account'

/** Endings and names of files, users and groups, folders and units, of either guide. */
const words = Object.values(layouts).flatMap(({ files, certs, units }) => [
  ...[files.certificate(''), `${files.key('')}'`],
  ...certs.flatMap(({ name }) => (name.includes('-') && name !== shared ? [name] : [])),
  ...units.flatMap(({ reads }) => reads.map(({ usual }) => dirname(usual))),
  ...units.flatMap(({ unit }) => (unit.startsWith('kube-') && unit !== apiServer ? [unit] : [])),
  ...['system:masters', 'system:kube', 'system:nodes'],
])
const facts = new RegExp([...new Set(words)].map((word) => RegExp.escape(word)).join('|'))

/** What is not a guide's, by a part of its line, each with its reason. */
const allowed = new Map([
  ['system:masters', "Kubernetes' own group"],
  ["'system:nodes', everybody", 'the group of a review'],
  ['-client.pem', 'a file that no guide has: the pair beside a kubeconfig'],
  ['kube-controller-manager signed', 'a component, by its name'],
  ['pods that load', 'the file that pods have'],
])

test('no other file has a file name, a subject, a place or a unit of a guide', () => {
  const found = globSync('{lib,tasks}/**/*.ts', { cwd: root })
    .filter((file) => !file.startsWith('tasks/layouts/'))
    .flatMap((file) => {
      const code = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|(?<![:\\])\/\/.*$/gm, '')
      return code.split('\n').flatMap((line) => (facts.test(line) ? [`${file}: ${line.trim()}`] : []))
    })
  const isAllowed = (line: string) => [...allowed.keys()].some((part) => line.includes(part))
  assert.deepEqual(
    found.filter((line) => !isAllowed(line)),
    [],
  )
  const unused = [...allowed.keys()].filter((part) => !found.some((line) => line.includes(part)))
  assert.deepEqual(unused, [])
})
