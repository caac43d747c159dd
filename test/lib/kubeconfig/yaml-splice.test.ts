import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  addItem,
  editMap,
  offsetOfKey,
  parseText,
  removeKey,
  SpliceError,
  setKey,
  type YamlPath,
} from '../../../lib/kubeconfig/yaml-splice.ts'

type Cases = Readonly<Record<string, readonly [before: string, after: string]>>

function eachCase(cases: Cases, change: (text: string) => string, lineEnds = ['\n', '\r\n']): void {
  for (const [title, [before, after]] of Object.entries(cases))
    test(title, () => {
      for (const lineEnd of before.endsWith('\n') ? lineEnds : ['\n'])
        assert.equal(change(before.replaceAll('\n', lineEnd)), after.replaceAll('\n', lineEnd))
    })
}

describe('a value is set in its place', () => {
  eachCase(
    {
      'and the comment behind it stays': ['a:   old   # why\nb: 1\n', 'a:   new   # why\nb: 1\n'],
      'where it was in single quotes': ["a: 'it''s' # why\n", 'a: new # why\n'],
      'where it was in double quotes': ['a: "o\\"ld"\n', 'a: new\n'],
      'where its key is in quotes': ['"a" : old\n', '"a" : new\n'],
      'where it was on the next line': ['a:\n  old\nb: 1\n', 'a:\n  new\nb: 1\n'],
      'where it was a text on two lines': ['a: old\n  old\nb: 1\n', 'a: new\nb: 1\n'],
      'where it was null': ['a: null # none\n', 'a: new # none\n'],
      'where there was nothing': ['a:\nb: 1\n', 'a: new\nb: 1\n'],
      'where there was nothing, at the end': ['b: 1\na:', 'b: 1\na: new'],
      'where it was a map': ['a: {b: 1} # why\n', 'a: new # why\n'],
      'in flow style, as JSON': ['{b: 1, a: old} # why\n', '{b: 1, a: "new"} # why\n'],
      'in JSON': ['{\n  "a" : "old",\n  "b": 1\n}\n', '{\n  "a" : "new",\n  "b": 1\n}\n'],
    },
    (text) => setKey(parseText(text), 'a', 'new'),
  )
  eachCase(
    {
      'where it was a block of text': ['a: |\n  old\n  # old too\n\nb: 1 # one\n', 'a: new\n\nb: 1 # one\n'],
      'where it was a folded block at the end': ['b: 1\na: >-\n  old\n  old\n', 'b: 1\na: new\n'],
    },
    (text) => setKey(parseText(text), 'a', 'new'),
    ['\n'],
  )
})

describe('a value whose key is not there goes behind the last one', () => {
  eachCase(
    {
      'before the comments that end the map': ['b: 1 # one\n\n# end\n', 'b: 1 # one\na: new\n\n# end\n'],
      'where no newline ends the text': ['b: 1', 'b: 1\na: new\n'],
      'where a comment without newline ends it': ['b: 1 # one', 'b: 1 # one\na: new\n'],
      'behind nested lists': ['b:\n- - 1\n  - 2 # two\n# end\n', 'b:\n- - 1\n  - 2 # two\na: new\n# end\n'],
      'behind a block of text that keeps its end': ['b: |+\n  x\n\n', 'b: |+\n  x\n\na: new\n'],
      'behind a key with nothing': ['b:\n', 'b:\na: new\n'],
      'before the end of the document': ['b: 1\n...\n', 'b: 1\na: new\n...\n'],
      'in flow style': ['{b: 1 } # why\n', '{b: 1, "a": "new" } # why\n'],
      'in flow style behind a comma': ['{\n  b: 1, # one\n}\n', '{\n  b: 1, "a": "new", # one\n}\n'],
      'in an empty map': ['{ }\n', '{ "a": "new"}\n'],
    },
    (text) => setKey(parseText(text), 'a', 'new'),
  )
})

describe('a place is found', () => {
  const place: YamlPath = ['list', { name: 'two' }, 'map']
  const set = (text: string) => editMap(parseText(text), place, (map) => setKey(parseText(map), 'a', 'new'))
  eachCase(
    {
      'by the name of a list entry, with the indent that is there': [
        'list:\n    -   name: one\n        map:\n            a: 1\n    -   map:\n            b: 2 # two\n        name: two\n',
        'list:\n    -   name: one\n        map:\n            a: 1\n    -   map:\n            b: 2 # two\n            a: new\n        name: two\n',
      ],
      'whatever the quotes around the name': [
        'list:\n- {name: "two", map: {a: old}}\n- name: two2\n',
        'list:\n- {name: "two", map: {a: "new"}}\n- name: two2\n',
      ],
      'in the first of two entries with that name': [
        'list:\n- name: two\n  map: {a: 1}\n- name: two\n  map: {a: 1}\n',
        'list:\n- name: two\n  map: {a: "new"}\n- name: two\n  map: {a: 1}\n',
      ],
    },
    set,
  )

  for (const text of [
    '',
    '[]',
    'word',
    'list: 1',
    'list:\n- name: two\n',
    'list:\n- {name: two, map: }',
    'list:\n- two\n',
  ])
    test(`or refused: ${JSON.stringify(text)}`, () => assert.throws(() => set(text), SpliceError))
})

describe('a value that YAML would read as something else is quoted', () => {
  for (const value of [
    'true',
    '123',
    '1e3',
    'null',
    'yes',
    '',
    ' a',
    'a: b',
    'a #b',
    "'",
    '- a',
    '@a',
    '*a',
    '&a',
    '!a',
  ])
    test(JSON.stringify(value), () => {
      const written = setKey(parseText('a: old\nb: 1\n'), 'a', value)
      assert.match(written, /^a: ["']/)
      assert.equal(setKey(parseText(written), 'a', 'old'), 'a: old\nb: 1\n')
    })
})

describe('a key is taken out with its value', () => {
  eachCase(
    {
      'at the beginning': ['a: 1\nb: 2 # two\n', 'b: 2 # two\n'],
      'in the middle': ['c: 3 # three\na: 1 # one\nb: 2 # two\n', 'c: 3 # three\nb: 2 # two\n'],
      'at the end': ['# start\nb: 2 # two\na: 1 # one\n# end\n', '# start\nb: 2 # two\n# end\n'],
      'with a block of text': ['b: 2\na: |\n  x\n  # y\n# end\n', 'b: 2\n# end\n'],
      'with a nested map': ['b: 2\na:\n  x:\n  - y\n\nc: 3\n', 'b: 2\n\nc: 3\n'],
      'in flow style': ['{b: 2, a: 1, c: 3} # why\n', '{b: 2, c: 3} # why\n'],
      'at the end in flow style': ['{b: 2, a: 1 } # why\n', '{b: 2 } # why\n'],
      'at the beginning in JSON': ['{\n  "a": 1,\n  "b": 2\n}\n', '{\n  "b": 2\n}\n'],
      'at the end in JSON': ['{\n  "b": 2,\n  "a": 1\n}\n', '{\n  "b": 2\n}\n'],
      'or was not there': ['b: 2 # two\n', 'b: 2 # two\n'],
    },
    (text) => removeKey(parseText(text), 'a'),
  )

  test('from the first line of a list entry, whose dash stays', () => {
    const text = 'list:\n  - a: 1 # one\n    name: x # x\n'
    const remove = (map: string) => removeKey(parseText(map), 'a')
    assert.equal(editMap(parseText(text), ['list', { name: 'x' }], remove), 'list:\n  - name: x # x\n')
  })

  test('but not where it is alone: the map would be no map', () =>
    assert.throws(() => removeKey(parseText('a: 1\n'), 'a'), SpliceError))
})

describe('an item goes to the end of its list', () => {
  eachCase(
    {
      'with the indent that the list has': [
        'list:\n   - x: 1\n\n     name: one # one\n# end\n',
        'list:\n   - x: 1\n\n     name: one # one\n   - cluster: {}\n     name: new\n# end\n',
      ],
      'without an indent': ['list:\n- name: one\nb: 1\n', 'list:\n- name: one\n- cluster: {}\n  name: new\nb: 1\n'],
      'where no newline ends the text': ['list:\n- name: one', 'list:\n- name: one\n- cluster: {}\n  name: new\n'],
      'behind a block of text': [
        'list:\n- name: |\n    one\n\nb: 1\n',
        'list:\n- name: |\n    one\n- cluster: {}\n  name: new\n\nb: 1\n',
      ],
      'in flow style': ['list: [{name: one}] # why\n', 'list: [{name: one}, {"cluster":{},"name":"new"}] # why\n'],
      'in flow style over lines': [
        'list: [\n  {name: one}, # one\n]\n',
        'list: [\n  {name: one}, {"cluster":{},"name":"new"}, # one\n]\n',
      ],
      'in JSON': [
        '{"list": [{"name": "one"}], "b": 1}\n',
        '{"list": [{"name": "one"}, {"cluster":{},"name":"new"}], "b": 1}\n',
      ],
      'in JSON that has it empty': ['{"list": [], "b": 1}\n', '{"list": [{"cluster":{},"name":"new"}], "b": 1}\n'],
      'in JSON that has it not': ['{"b": 1}\n', '{"b": 1, "list": [{"cluster":{},"name":"new"}]}\n'],
      'that has to be made': ['b: 1 # one\n# end\n', 'b: 1 # one\nlist:\n- cluster: {}\n  name: new\n# end\n'],
    },
    (text) => addItem(parseText(text), 'list', { cluster: {}, name: 'new' }),
  )

  eachCase(
    {
      'that is empty, whose comment stays': [
        'list: [] # why\nb: 1\n',
        'list: # why\n- cluster: {}\n  name: new\nb: 1\n',
      ],
      'that is null': ['list: null\nb: 1\n', 'list:\n- cluster: {}\n  name: new\nb: 1\n'],
      'that is not there though its key is': ['list:\nb: 1\n', 'list:\n- cluster: {}\n  name: new\nb: 1\n'],
    },
    (text) => addItem(parseText(text), 'list', { cluster: {}, name: 'new' }),
    ['\n'],
  )
})

describe('one reading of a text is enough for several edits, from the last place to the first', () => {
  const edit = (text: string) => {
    const { root } = parseText(text)
    const edits = [
      { key: 'list', apply: (now: string) => addItem({ text: now, root }, 'list', { name: 'new' }) },
      { key: 'a', apply: (now: string) => setKey({ text: now, root }, 'a', 'new') },
      { key: 'b', apply: (now: string) => setKey({ text: now, root }, 'b', 'new') },
    ]
    const offset = ({ key }: { key: string }) => Math.min(offsetOfKey({ text, root }, key), text.length)
    return edits
      .toReversed()
      .toSorted((one, other) => offset(other) - offset(one))
      .reduce((now, { apply }) => apply(now), text)
  }
  eachCase(
    {
      'whatever their order': [
        'b: 1 # b\nlist:\n- name: x\na: 1\n',
        'b: new # b\nlist:\n- name: x\n- name: new\na: new\n',
      ],
      'where keys come behind a list that grows': [
        'list:\n- name: x\n',
        'list:\n- name: x\n- name: new\na: new\nb: new\n',
      ],
      'where they come behind a list that was empty': [
        'c: 1\nlist: [] # c\n',
        'c: 1\nlist: # c\n- name: new\na: new\nb: new\n',
      ],
      'where no newline ends the text': ['c: 1', 'c: 1\nlist:\n- name: new\na: new\nb: new\n'],
      'in an empty map': ['{}\n', '{"list": [{"name":"new"}], "a": "new", "b": "new"}\n'],
      'in flow style': ['{b: 1, list: []}\n', '{b: "new", list: [{"name":"new"}], "a": "new"}\n'],
    },
    edit,
  )
})
