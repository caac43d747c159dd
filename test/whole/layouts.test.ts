/** What a guide's cluster consists of is said in tasks/layouts/ alone. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Names of files, subjects, places and units of either guide. */
const facts =
  /\.pem|\.crt|\.key\b(?=['"`])|system:(?!node:)|\/var\/lib\/kube|\/etc\/etcd|kube-(?:scheduler|controller-manager|proxy|api-server)|kubernetes\.local/

/** What is not a guide's, by a part of its line, each with its reason. */
const allowed = new Map([
  ["value === 'system:masters'", "Kubernetes' own group"],
  ["input.startsWith('system:')", "Kubernetes' own prefix"],
  ['begins with system:, which Kubernetes keeps', "Kubernetes' own prefix"],
  ['system:serviceaccount:default:default', "Kubernetes' own user"],
  ['-client.pem', 'a file that no guide has: the pair beside a kubeconfig'],
  ['kube-controller-manager signed', 'a component, by its name'],
  ['their ca.crt', 'the file that pods have'],
  ['read the ca.crt', 'the file that pods have'],
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
