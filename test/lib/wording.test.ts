import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { excerpt, fit, foldAlike, formatNames, printable, wrap } from '../../lib/wording.ts'

describe("a target's own name is <name>", () => {
  /** As it is for two targets with the same text. */
  const fold = (text: string) => foldAlike(['n7', 'n7'], String, () => text)[0]?.shared(text)
  for (const [text, without] of [
    ['n7.pem missing', '<name>.pem missing'],
    ['n7-key.pem has mode 0644, not 0600', '<name>-key.pem has mode 0644, not 0600'],
    [
      'n7.pem is not a valid certificate; n7-key.pem missing',
      '<name>.pem is not a valid certificate; <name>-key.pem missing',
    ],
    ['SAN added: n7.example.org', 'SAN added: <name>.example.org'],
    ['SAN added: n7, n7.example.org; SAN removed: n7', 'SAN added: <name>, <name>.example.org; SAN removed: <name>'],
    ['depends on node-certs/n7', 'depends on node-certs/<name>'],
    ['depends on node-certs/n7 and 3 more', 'depends on node-certs/<name> and 3 more'],
  ] as const)
    test(`in "${text}"`, () => assert.equal(fold(text), without))

  for (const text of [
    'n77.pem missing',
    'my-n7.pem missing',
    'n7-b.pem missing',
    'an7.pem missing',
    'SAN added: n7-b.example.org',
    'depends on node-certs/n77, node-certs/n7-b',
  ])
    test(`and not in "${text}"`, () => assert.equal(fold(text), text))
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
    [
      'mv: /var/lib/kubernetes/kube-controller-manager.kubeconfig\n  denied',
      'mv: /var/lib/kubernetes/kube-controller-manager.kubeconfig denied',
    ],
    [
      'scp: .harderway-0123456789ab-0123456789abcdef-auth.tar: denied',
      'scp: .harderway-0123456789ab-0123456789abcdef-auth.tar: denied',
    ],
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

test('a line for a terminal is broken between words, and not within what was', () => {
  const line = '      rsa-2048, expires 2036-11-22, 19 names (was 18)'
  assert.equal(wrap(line, 50, 8), '      rsa-2048, expires 2036-11-22, 19 names\n        (was 18)')
  assert.equal(wrap(line, undefined, 8), line)
  assert.equal(wrap('  ~ a  \x1b[33mb\x1b[39m c', 9, 8), '  ~ a  \x1b[33mb\x1b[39m\n        c')
  assert.equal(wrap('a-word-that-is-wider c', 8, 2), 'a-word-that-is-wider\n  c')
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
