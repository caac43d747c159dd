import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import {
  compareKubeconfig,
  formatKubeconfig,
  type KubeconfigAccess,
  type Part,
  partOf,
  readServer,
  scalarText,
  serverUrl,
} from '../../../lib/kubernetes/kubeconfig.ts'
import { scratch } from '../../support/files.ts'
import { kubectl, kubectlConfig, needs } from '../../support/programs.ts'
import { fc } from '../../support/properties.ts'

const access: KubeconfigAccess = {
  cluster: 'kubenet',
  server: 'https://kubernetes:6443',
  user: 'admin',
  context: 'default',
  ca: Buffer.from(`-----BEGIN CERTIFICATE-----\n${'ca+/'.repeat(300)}\n-----END CERTIFICATE-----\n`),
  certificate: Buffer.from(`-----BEGIN CERTIFICATE-----\n${'leaf'.repeat(333)}\n-----END CERTIFICATE-----\n`),
  key: Buffer.from(`-----BEGIN RSA PRIVATE KEY-----\n${'key0'.repeat(400)}\n-----END RSA PRIVATE KEY-----\n`),
}
const text = formatKubeconfig(access)

describe('as kubectl writes it', { skip: needs('kubectl') }, () => {
  /** kubectl's file for the guide's four commands, without the line that 1.34 no longer writes. */
  const written = (home: string, asked: KubeconfigAccess) => {
    const file = join(home, 'kubeconfig')
    kubectlConfig(home, asked, { file })
    return readFileSync(file, 'utf8').replace('preferences: {}\n', '')
  }

  const all = { cluster: '123', user: '123', context: '123' }
  for (const named of [{ user: 'admin' }, { user: 'system:node:worker0' }, all])
    test(`the kubeconfig of ${named.user} is byte for byte what the guide's four commands make`, (t) => {
      assert.equal(formatKubeconfig({ ...access, ...named }), written(scratch(t), { ...access, ...named }))
    })
})

describe('the parts that a component reads', () => {
  const part = (name: Part, from = text) => `${partOf(from, name, 'client.kubeconfig')}`

  test('are the same access, as kubectl reads them', {
    skip: needs('kubectl'),
  }, (t) => {
    const home = scratch(t)
    writeFileSync(join(home, 'client-client.pem'), part('pair'))
    writeFileSync(join(home, 'client-ca.pem'), part('ca'))
    writeFileSync(join(home, 'kubeconfig'), part('kubeconfig'))
    const file = `--kubeconfig=${join(home, 'kubeconfig')}`
    const whole = parse(kubectl(home, ['config', 'view', '--raw', '--flatten', file]))
    // One file with both stands for each of them.
    const pair = Buffer.from(part('pair')).toString('base64')
    const { user } = whole.users[0]
    assert.deepEqual([user['client-certificate-data'], user['client-key-data']], [pair, pair])
    const { users, ...rest } = parse(text)
    delete whole.users
    delete whole.preferences
    assert.deepEqual(whole, rest)
  })

  test('hold CA, certificate and key, byte for byte, and nothing of them is left in the kubeconfig', () => {
    assert.equal(part('pair'), `${access.certificate}\n${access.key}\n`)
    assert.equal(part('ca'), `${access.ca}`)
    for (const bytes of [access.key, access.certificate, access.ca])
      assert.ok(!part('kubeconfig').includes(bytes.toString('base64')))
  })

  test('are the same whether kubectl 1.32 wrote the kubeconfig or we did', () => {
    const theirs = text.replace('users:\n', 'preferences: {}\nusers:\n')
    assert.equal(part('kubeconfig', theirs), part('kubeconfig'))
  })

  test('are not made of a kubeconfig that kubectl did not write', () => {
    const others = [stringify(parse(text), { defaultStringType: 'QUOTE_DOUBLE', lineWidth: 60 }), `${text}${text}`, '']
    for (const other of [...others, JSON.stringify(parse(text)), text.replace(/.*authority.*\n/, '')])
      assert.equal(partOf(other, 'pair', 'x.kubeconfig'), undefined, other.slice(0, 200))
  })
})

test('what it means is compared, not how it is written', () => {
  const data = parse(text)
  const cases: Readonly<Record<string, string>> = {
    JSON: JSON.stringify(data, null, 2),
    comments: text.replaceAll(/^(.*)$/gm, '$1 # a comment').replace(/^/, '# the admin\n\n'),
    'line ends of Windows': text.replaceAll('\n', '\r\n'),
    "kubectl 1.32's preferences": `${text}preferences: {}\n`,
  }
  for (const [title, other] of Object.entries(cases)) assert.deepEqual(compareKubeconfig(other, access), [], title)
})

test('what is no kubeconfig has no parts to compare', () => {
  const garbage = ['', '# nothing', 'a word', '42', 'null', '"', 'a: [', 'a: 1\na: 2', '\u0000', 'a: 1\n---\nb: 2\n']
  for (const each of garbage) assert.equal(compareKubeconfig(each, access), undefined, each)
})

test('the URL of the API has an IPv6 address in brackets, and is read from the first cluster', () => {
  assert.deepEqual(
    [serverUrl('10.0.0.1', 443), serverUrl('fd00::1', 6443)],
    ['https://10.0.0.1:443', 'https://[fd00::1]:6443'],
  )
  assert.deepEqual(readServer(text), { cluster: 'kubenet', host: 'kubernetes', port: 6443 })
  for (const clusters of ['', '[]', '[null]', '{}', 'a', '[{name: a}]'])
    assert.equal(readServer(`clusters: ${clusters}`), undefined, clusters)
})

test('whatever the name, it stays a text for readers of YAML 1.1 and of 1.2', () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.stringMatching(/^[A-Za-z0-9:/.+_=-]{1,8}$/))
  fc.assert(
    fc.property(text, (name) => {
      for (const version of ['1.1', '1.2'] as const) assert.equal(parse(`a: ${scalarText(name)}`, { version }).a, name)
    }),
  )
})
