import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { excerpt, fit, foldAlike, formatNames, printable } from '../../lib/wording.ts'

test("a target's own name is <name> where two targets have the same text, and no part of another name is", () => {
  const fold = (text: string) => foldAlike(['n7', 'n7'], String, () => text)[0]?.shared(text)
  for (const [text, without = text] of [
    ['n7.pem is not valid; n7-key.pem missing', '<name>.pem is not valid; <name>-key.pem missing'],
    ['SAN added: n7, n7.example.org', 'SAN added: <name>, <name>.example.org'],
    ['depends on node-certs/n7 and 3 more', 'depends on node-certs/<name> and 3 more'],
    ...[['n77.pem missing'], ['my-n7.pem missing'], ['n7-b.pem missing'], ['depends on node-certs/n77']],
  ])
    assert.equal(fold(text ?? ''), without)
})

test('up to four names are reported, of more the first three and how many there are besides', () => {
  const told = [0, 1, 4, 5, 1000].map((count) => formatNames(Array.from({ length: count }, (_, i) => `n${i}`)))
  assert.deepEqual(told, ['', 'n0', 'n0, n1, n2, n3', 'n0, n1, n2 and 2 more', 'n0, n1, n2 and 997 more'])
})

test('what moves the cursor, recolours or turns the text round is replaced; lines and other alphabets stay', () => {
  assert.equal(printable('a\nb\tc\x1b[31md\x9be\x7ff'), 'a\nb\uFFFDc\uFFFD[31md\uFFFDe\uFFFDf')
  assert.equal(printable('\u2028\u2029\u200e\u200f\u202a\u202e\u2066\u2069'), '\uFFFD'.repeat(8))
  assert.equal(printable('Kraków שלום 😀'), 'Kraków שלום 😀')
})

describe('of what a program elsewhere says', () => {
  const key = Buffer.alloc(32, 7).toString('base64')
  for (const [said, told] of [
    [`bad secret ${key}\n`, 'bad secret …'],
    [`/${key.slice(1)}`, '…'],
    [`scp: harderway ${key}`, 'scp: harderway …'],
    [
      `kube-scheduler --kubeconfig=/var/lib/kubernetes/kube-scheduler.kubeconfig --token=${key}`,
      'kube-scheduler --kubeconfig=/var/lib/kubernetes/kube-scheduler.kubeconfig …',
    ],
    ['\x1b[2Jgone', '\uFFFD[2Jgone'],
    ['so '.repeat(100), `${'so '.repeat(100).slice(0, 160)}`],
  ] as const)
    test(`"${said.slice(0, 40)}" is shown on one line, without what could be a key`, () =>
      assert.equal(excerpt(said), told))
})

test('prose is broken between words at the width of a terminal, and a command, indented by four, is whole', () => {
  const text = 'To do      the CA expires in 19 days; run:\n    npm run task -- ca --renew\nthen do nothing else'
  assert.deepEqual(fit(text, 20).split('\n'), [
    'To do      the CA',
    '           expires',
    '           in 19',
    '           days;',
    '           run:',
    '    npm run task -- ca --renew',
    'then do nothing else',
  ])
  for (const columns of [undefined, 200]) assert.equal(fit(text, columns), text)
})
