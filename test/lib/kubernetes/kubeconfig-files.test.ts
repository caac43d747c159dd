import assert from 'node:assert/strict'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { KubeconfigAccess } from '../../../lib/kubernetes/kubeconfig.ts'
import { planChanges, readKubeconfigs, readTrusted } from '../../../lib/kubernetes/kubeconfig-merge.ts'
import { scratch } from '../../support/files.ts'

const access: KubeconfigAccess = {
  cluster: 'kubenet',
  server: 'https://kubernetes:6443',
  user: 'admin',
  context: 'kubenet',
  ca: Buffer.from('ca'),
  certificate: Buffer.from('certificate'),
  key: Buffer.from('key'),
}

const foreign = 'clusters:\n- {name: one, cluster: {server: "https://one"}}\ncurrent-context: one\n'
const clusters = 'clusters:\n- {name: kubenet, cluster: {server: "https://old"}}\n'
const users = 'users:\n- {name: admin, user: {token: old}}\n'
const contexts = 'contexts:\n- {name: kubenet, context: {cluster: kubenet, user: old}}\n'
const currentContext = 'current-context: kubenet\n'
const all = ['cluster', 'user', 'context', 'current']

/** The texts of a list, undefined where there is no file; what changes in which of them. */
const lists: Readonly<Record<string, readonly [readonly (string | undefined)[], Record<number, readonly string[]>]>> = {
  'none of which exists: the last': [[undefined, undefined], { 1: all }],
  'of which the second is the first to exist': [[undefined, foreign, ''], { 1: all }],
  'of which the first is empty': [['', foreign], { 0: all }],
  'with our cluster in the last one': [[foreign, clusters], { 0: ['user', 'context', 'current'], 1: ['cluster'] }],
  'with each entry in another one': [
    [contexts, clusters, users + currentContext],
    { 0: ['context'], 1: ['cluster'], 2: ['user'] },
  ],
  'with our entries in two of them: the first counts': [
    ['', clusters + users + contexts, clusters + users + contexts + currentContext],
    { 1: ['cluster', 'user', 'context'] },
  ],
  'with another current context before ours': [[foreign, currentContext], { 0: all }],
  'with a current context that was chosen after ours was made': [
    [foreign, clusters + users + contexts],
    { 1: ['cluster', 'user', 'context'] },
  ],
  'with our entries and no current context: the first that exists': [
    ['', clusters + users + contexts],
    { 0: ['current'], 1: ['cluster', 'user', 'context'] },
  ],
  'with a gap between two that exist': [
    [foreign, undefined, users],
    { 0: ['cluster', 'context', 'current'], 2: ['user'] },
  ],
}

describe('in a list of kubeconfigs', () => {
  for (const [title, [texts, expected]] of Object.entries(lists))
    test(title, (t) => {
      const folder = scratch(t)
      const paths = texts.map((text, at) => {
        const path = join(folder, String(at))
        if (text !== undefined) writeFileSync(path, text)
        return path
      })
      const planned = [...planChanges(readKubeconfigs(paths), access, { switches: true })].map(
        ([{ path }, changes]) => [
          paths.indexOf(path),
          changes.map((change) => ('key' in change ? change.key : 'current')),
        ],
      )
      assert.deepEqual(Object.fromEntries(planned), expected)
    })

  test('each file counts once, by its first name', (t) => {
    const folder = scratch(t)
    const [a, b, link] = [join(folder, 'a'), join(folder, 'b'), join(folder, 'link')]
    writeFileSync(a, foreign)
    symlinkSync('a', link)
    assert.deepEqual(
      readKubeconfigs([a, b, link, b]).map(({ path }) => path),
      [a, b],
    )
  })
})

test('the CA that kubectl trusts is read beside the file that names it', (t) => {
  const folder = scratch(t)
  const path = join(folder, 'config')
  writeFileSync(join(folder, 'ca.pem'), 'a CA')
  const trusted = (fields: string) => {
    writeFileSync(path, `clusters:\n- {name: kubenet, cluster: {${fields}}}\n`)
    return readTrusted(readKubeconfigs([path]), 'kubenet')?.toString()
  }
  assert.equal(trusted('certificate-authority: ca.pem'), 'a CA')
  assert.equal(trusted('certificate-authority: ca.pem, certificate-authority-data: b3VycyE='), 'ours!')
  assert.equal(trusted('certificate-authority: gone.pem'), undefined)
  assert.equal(trusted(''), undefined)
})
