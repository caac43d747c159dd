import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { parse, stringify } from 'yaml'
import type { Access } from '../../../lib/kubeconfig/kubeconfig.ts'
import { applyChanges, type Change, isAsAsked, readKubeconfig, stanzasOf } from '../../../lib/kubeconfig/merge.ts'
import { refused, type Sample, samples } from '../../support/kubeconfig-texts.ts'
import { kubectl, kubectlConfig } from '../../support/kubectl.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const access: Access = {
  cluster: 'kubenet',
  server: 'https://kubernetes:6443',
  user: 'admin',
  context: 'kubenet',
  ca: Buffer.from('the CA '.repeat(40)),
  certificate: Buffer.from('the certificate '.repeat(40)),
  key: Buffer.from('the key '.repeat(40)),
}
const changes: readonly Change[] = [...stanzasOf(access), { currentContext: 'kubenet' }]

function applied(text: string): string {
  return applyChanges(text, changes) ?? assert.fail('it was refused')
}

for (const [title, sample] of Object.entries(samples)) {
  describe(`a kubeconfig ${title}`, () => {
    test('keeps every line that is not ours', () => assertLinesKept(sample, applied(sample.text)))

    test('then holds our three entries and the current context', () => {
      const read = readKubeconfig(applied(sample.text))
      assert.equal(read?.currentContext, 'kubenet')
      for (const stanza of stanzasOf(access)) assert.ok(isAsAsked(read.find(stanza.list, stanza.name), stanza))
    })

    test('is not changed by a second time', () => assert.equal(applied(applied(sample.text)), applied(sample.text)))

    test('means what kubectl makes of the same file', { skip: needs('kubectl') }, (t) => {
      const home = scratch(t)
      const [ours, theirs] = [join(home, 'ours'), join(home, 'theirs')]
      writeFileSync(ours, applied(sample.text))
      writeFileSync(theirs, sample.text)
      kubectlConfig(home, access, { file: theirs })
      const view = (file: string) =>
        JSON.parse(kubectl(home, ['config', 'view', '--raw', '-o', 'json', `--kubeconfig=${file}`]))
      assert.deepEqual(view(ours), view(theirs))
    })
  })
}

function assertLinesKept({ text, changed = [] }: Sample, result: string): void {
  const lines = result.split('\n')
  const foreign = text.split('\n').filter((line) => line !== '' && !changed.includes(line))
  for (const line of changed) assert.ok(text.split('\n').includes(line), `the sample has no line ${line}`)
  let from = 0
  for (const line of foreign) {
    const at = lines.indexOf(line, from)
    assert.notEqual(at, -1, `lost or moved: ${line}`)
    from = at + 1
  }
}

describe('a file that is new', { skip: needs('kubectl') }, () => {
  test("means what kubectl's means, part by part", (t) => {
    const home = scratch(t)
    kubectlConfig(home, access, { file: join(home, 'theirs') })
    const theirs = parse(readFileSync(join(home, 'theirs'), 'utf8'))
    delete theirs.preferences
    assert.deepEqual(parse(applied('')), theirs)
  })
})

describe('what is changed in an entry of ours keeps', () => {
  const { text } = samples['with ours in it, said otherwise'] ?? assert.fail()
  const result = applied(text)
  for (const [what, line] of Object.entries({
    'the comment behind a value': '      server: https://kubernetes:6443 # by address',
    'the comment behind a name': '  - name: kubenet # from last year',
    'a field of the user': '      proxy-url: http://proxy:3128   # the only way there',
    'his namespace': '      namespace: kube-system # where I look first',
  }))
    test(what, () => assert.ok(result.split('\n').includes(line), result))

  for (const key of ['certificate-authority', 'tls-server-name', 'client-certificate', 'client-key'])
    test(`nothing that says otherwise: ${key} is gone`, () =>
      assert.doesNotMatch(result, new RegExp(`^ *${key}:`, 'm')))
})

test('line ends of Windows stay, and new lines have them too', () => {
  const { text } = samples['with the line ends of Windows'] ?? assert.fail()
  assert.doesNotMatch(applied(text), /[^\r]\n/)
})

describe('what would change something that is not ours is refused', () => {
  for (const [title, text] of Object.entries(refused))
    test(title, () => assert.equal(applyChanges(text, changes), undefined))
})

describe('what a kubeconfig says', () => {
  const read = (text: string) => readKubeconfig(text) ?? assert.fail('not read')

  test('an empty file is a kubeconfig that says nothing', () => {
    for (const text of ['', '\n', '# mine\n', '---\n', '{}', 'clusters: null\ncurrent-context: ""\n']) {
      assert.equal(read(text).currentContext, undefined)
      assert.deepEqual(read(text).contexts, [])
      assert.equal(read(text).find('clusters', 'kubenet'), undefined)
    }
  })

  test('the first of two entries with one name counts', () => {
    const text = 'clusters:\n- {name: a, cluster: {server: one}}\n- {name: a, cluster: {server: two}}\n'
    assert.deepEqual(read(text).find('clusters', 'a'), { server: 'one' })
  })

  test('an entry with nothing in it is there', () => {
    assert.deepEqual(read('users:\n- name: a\n- name: b\n  user: null\n').find('users', 'a'), {})
    assert.deepEqual(read('users:\n- name: a\n- name: b\n  user: null\n').find('users', 'b'), {})
  })

  test('contexts are reported with their cluster and user', () => {
    assert.deepEqual(read('contexts:\n- {name: a, context: {user: u, cluster: c}}\n- {name: b}\n').contexts, [
      { name: 'a', cluster: 'c', user: 'u' },
      { name: 'b', cluster: undefined, user: undefined },
    ])
  })

  for (const garbage of ['[]', '- a', 'word', '42', '{', 'a: 1\na: 2', '\t- x', '"'])
    test(`${JSON.stringify(garbage)} is no kubeconfig`, () => assert.equal(readKubeconfig(garbage), undefined))

  test('aliases that multiply are not followed', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${new Array(9).fill(`*a${i}`)}]\n`)
    assert.equal(readKubeconfig(`a0: &a0 [x]\n${levels.join('')}`), undefined)
  })
})

describe('an entry is as asked', () => {
  const [cluster] = stanzasOf(access)
  assert.ok(cluster)
  test('where it holds more than was asked', () =>
    assert.ok(isAsAsked({ ...cluster.values, 'proxy-url': 'x' }, cluster)))
  test('where another way to say the same is there but empty', () =>
    assert.ok(isAsAsked({ ...cluster.values, 'insecure-skip-tls-verify': false, 'tls-server-name': '' }, cluster)))
  test('not where it is not there', () => assert.ok(!isAsAsked(undefined, cluster)))
  for (const field of cluster.dropped)
    test(`not where ${field} says otherwise`, () => assert.ok(!isAsAsked({ ...cluster.values, [field]: 'x' }, cluster)))
  for (const field of Object.keys(cluster.values))
    test(`not where ${field} is another`, () => assert.ok(!isAsAsked({ ...cluster.values, [field]: 'x' }, cluster)))
})

describe('whatever the kubeconfig and its layout', () => {
  test('each single edit takes nothing away that is not ours, and what comes out means what was asked', () => {
    fc.assert(
      fc.property(layouts(), (text) => {
        let before = text
        for (const change of changes.flatMap((each) => singleEdits(each, text))) {
          const after = applyChanges(before, [change])
          if (after === undefined) return
          const lost = takenAway(before, after)
          assert.doesNotMatch(lost, /foreign-/, JSON.stringify({ before, after }))
          assert.deepEqual(parse(after), expected(parse(before) ?? emptyData, change))
          assert.equal(applyChanges(after, [change]), after)
          before = after
        }
      }),
      { numRuns: 80 },
    )
  })

  test('all changes at once are the single edits one after the other, or are refused', () => {
    fc.assert(
      fc.property(layouts(), (text) => {
        const after = applyChanges(text, changes)
        if (after === undefined) return
        assert.deepEqual(
          parse(after),
          changes.reduce<unknown>((data, change) => expected(data, change), parse(text) ?? emptyData),
        )
      }),
      { numRuns: 40 },
    )
  })

  test('few are refused: those in block style never are', () => {
    fc.assert(
      fc.property(kubeconfigs(), (data) => assert.ok(applyChanges(stringify(data), changes))),
      { numRuns: 40 },
    )
  })
})

const emptyData = { apiVersion: 'v1', clusters: [], contexts: [], 'current-context': '', kind: 'Config', users: [] }

/** The whole entry where it is new; else one value set, one key taken out. */
function singleEdits(change: Change, text: string): Change[] {
  if ('currentContext' in change || !readKubeconfig(text)?.find(change.list, change.name)) return [change]
  const { values, dropped } = change
  return [
    ...Object.entries(values).map(([key, value]) => ({ ...change, values: { [key]: value }, dropped: [] })),
    ...dropped.map((key) => ({ ...change, values: {}, dropped: [key] })),
  ]
}

/** Of the text before, what is between the beginning and the end that both have. */
function takenAway(before: string, after: string): string {
  let start = 0
  while (start < before.length && before[start] === after[start]) start++
  let end = 0
  const most = Math.min(before.length, after.length) - start
  while (end < most && before.at(-1 - end) === after.at(-1 - end)) end++
  return before.slice(start, before.length - end)
}

/** biome-ignore lint/suspicious/noExplicitAny: what a parser gives */
function expected(before: any, change: Change): unknown {
  const data = structuredClone(before)
  if ('currentContext' in change) return { ...data, 'current-context': change.currentContext }
  const { list, key, name, values, dropped } = change
  data[list] ??= []
  const entry = data[list].find((each: { name: string }) => each.name === name)
  if (!entry) data[list].push({ [key]: values, name })
  else
    entry[key] = Object.fromEntries(Object.entries({ ...entry[key], ...values }).filter(([k]) => !dropped.includes(k)))
  return data
}

/** A text with its mark in it, so that it is found again; it may need any kind of quotes. */
function foreign(): fc.Arbitrary<string> {
  const tail = fc.oneof(
    fc.constantFrom(
      '',
      ' # no comment',
      ': x',
      "'",
      '"',
      '\\',
      ' two words',
      '\nline\n',
      '\n\n  indented\n',
      ' ',
      ',]}',
    ),
    fc.string({ maxLength: 12, unit: 'grapheme' }),
    fc.string({ maxLength: 200 }),
  )
  return fc.tuple(fc.nat(9999), tail).map(([id, end]) => `foreign-${id}${end}`)
}

/** biome-ignore lint/suspicious/noExplicitAny: any kubeconfig */
function kubeconfigs(): fc.Arbitrary<any> {
  const extra = fc.dictionary(
    fc.constantFrom('x-one', 'x-two', 'extensions'),
    fc.oneof(foreign(), fc.array(foreign(), { maxLength: 2 })),
    { maxKeys: 2 },
  )
  const fields = (...keys: string[]) =>
    fc.record(Object.fromEntries(keys.map((key) => [key, foreign()])), { requiredKeys: [keys[0] ?? ''] })
  const entries = (key: string, inner: fc.Arbitrary<object>, ours: fc.Arbitrary<object>) =>
    fc
      .tuple(
        fc.array(fc.tuple(foreign(), inner, extra, fc.boolean()), { maxLength: 3 }),
        fc.option(fc.tuple(ours, fc.nat(3))),
        fc.boolean(),
        fc.boolean(),
      )
      .map(([others, own, isNull, isShared]) => {
        // One object in two places is written with an anchor and aliases.
        const shared = isShared ? others[0]?.[1] : undefined
        const list: object[] = others.map(([name, inside, more, isNameFirst]) => {
          const value = shared ?? inside
          return isNameFirst ? { name, [key]: value, ...more } : { [key]: value, ...more, name }
        })
        if (own) list.splice(own[1], 0, { [key]: own[0], name: key === 'user' ? 'admin' : 'kubenet' })
        return list.length === 0 && isNull ? null : list
      })
  const own = (...keys: string[]) =>
    fc
      .tuple(
        fc.record(Object.fromEntries(keys.map((key) => [key, fc.constantFrom('a', 'b c', '', 'd: e', 'f\ng\n')])), {
          requiredKeys: [],
        }),
        fc.nat(3),
      )
      .map(([values, at]) => {
        const own: [string, unknown][] = Object.entries(values)
        return Object.fromEntries(own.toSpliced(at, 0, ['x-kept', 'foreign-0']))
      })
  const lists = {
    clusters: entries(
      'cluster',
      fields('server', 'proxy-url'),
      own('server', 'certificate-authority', 'insecure-skip-tls-verify', 'certificate-authority-data'),
    ),
    contexts: entries('context', fields('cluster', 'user'), own('user', 'cluster')),
    users: entries('user', fields('token', 'password'), own('client-key', 'client-certificate', 'client-key-data')),
  }
  return fc
    .tuple(
      fc.record(
        {
          ...lists,
          'current-context': fc.constantFrom('', 'kubenet', 'b c'),
          kind: fc.constant('Config'),
          'x-more': foreign(),
        },
        { requiredKeys: [] },
      ),
      fc.boolean(),
    )
    .map(([data, isReversed]) => (isReversed ? Object.fromEntries(Object.entries(data).reverse()) : data))
}

/** A kubeconfig in some style of YAML, with comments between its lines. */
function layouts(): fc.Arbitrary<string> {
  const style = fc.record({
    collectionStyle: fc.constantFrom('any' as const, 'block' as const, 'flow' as const),
    defaultStringType: fc.constantFrom(
      'PLAIN' as const,
      'QUOTE_DOUBLE' as const,
      'QUOTE_SINGLE' as const,
      'BLOCK_LITERAL' as const,
      'BLOCK_FOLDED' as const,
    ),
    defaultKeyType: fc.constantFrom('PLAIN' as const, 'QUOTE_DOUBLE' as const),
    indent: fc.constantFrom(2, 3, 4, 8),
    indentSeq: fc.boolean(),
    lineWidth: fc.constantFrom(0, 20, 80),
    flowCollectionPadding: fc.boolean(),
  })
  const json = fc.constantFrom(undefined, 0, 2)
  const finish = fc.record({
    comments: fc.array(fc.nat(60), { maxLength: 4 }),
    eol: fc.constantFrom('\n', '\r\n'),
    endsWithout: fc.boolean(),
    isDocument: fc.boolean(),
  })
  return fc
    .tuple(kubeconfigs(), style, json, finish)
    .map(([data, options, indent, { comments, eol, endsWithout, isDocument }]) => {
      const plain = indent === undefined ? stringify(data, options) : `${JSON.stringify(data, null, indent)}\n`
      const lines = plain.split('\n')
      // Not between the lines of an entry of ours: there a comment belongs to what may go.
      for (const at of comments)
        if (/^( *- | *"?(clusters|users|contexts|kind)"?:)/.test(lines[at] ?? ''))
          lines.splice(at, 0, `# foreign-${at} comment`, '')
      const text = (isDocument ? '--- # foreign-1\n' : '') + lines.join('\n')
      return (endsWithout ? text.trimEnd() : text).replaceAll('\n', eol)
    })
    .filter((text) => readKubeconfig(text) !== undefined)
}
