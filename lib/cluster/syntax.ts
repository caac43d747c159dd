/** Mistakes that make a text invalid YAML, or give it another meaning than its writer intended: mostly missing quotes. Pure. */
import { type Document, isScalar, visit, type YAMLParseError } from 'yaml'
import { type Explained, withoutKeys } from '../wording.ts'
import { shown } from './problem.ts'

/** `offset` counts characters from the start of the text. */
export interface SyntaxProblem extends Explained {
  readonly offset: number
}

/** After one syntax error the parser's further errors are consequences of it, so only one is returned. */
export function syntaxProblems(text: string, document: Document.Parsed): SyntaxProblem[] {
  const { errors } = document
  if (errors.length === 0) return [...mergeKeys(document), ...unresolvedAliases(document)]
  const [error] = [...errors.filter(({ code }) => code === 'BLOCK_IN_FLOW'), ...errors]
  return error ? [templateProblem(text, errors) ?? describe(text, document, error)] : []
}

function describe(
  text: string,
  document: Document.Parsed,
  { code, message, pos: [offset, end] }: YAMLParseError,
): SyntaxProblem {
  const rest = text.slice(offset)
  const [, bracket] = /^Flow .* end with a ([\]}])$/.exec(message) ?? []
  if (bracket !== undefined) return { offset, message: `a ${bracket} is missing before this line` }
  if (/^Missing closing .quote$/.test(message))
    return { offset: openQuote(text, document) ?? offset, message: 'the quote that begins here is not closed' }
  switch (code) {
    case 'DUPLICATE_KEY':
      return {
        offset,
        message: `${quoted(text.slice(offset, end))} is a key of this map already`,
        remedy: 'remove one of the two',
      }
    case 'MULTIPLE_DOCS':
      return { offset, message: 'a second document begins (---)', remedy: 'a file holds one cluster' }
    case 'BLOCK_IN_FLOW':
      return missingComma(rest, offset) ?? { offset, ...needsQuotes(flowValue(rest), 'with ": " in it') }
    case 'BLOCK_AS_IMPLICIT_KEY':
      return { offset, ...describeBlock(lineValue(rest)) }
    case 'BAD_ALIAS':
      return { offset, ...needsQuotes(flowValue(rest), 'that begins with *') }
    case 'BAD_SCALAR_START':
      return { offset, ...needsQuotes(flowValue(rest), `that begins with ${rest[0]}`) }
    case 'MULTILINE_IMPLICIT_KEY':
      return { offset, ...noColon }
    case 'NON_STRING_KEY':
      return { offset, message: 'a key has to be text' }
    case 'TAB_AS_INDENT':
      return { offset, message: 'a tab indents this line', remedy: 'indent it with blanks' }
    case 'BAD_INDENT':
      return {
        offset,
        message: 'the indentation of this line matches no line above',
        remedy: 'indent it like the lines that it belongs with',
      }
    case 'BAD_DQ_ESCAPE':
      return { offset, message: `${rest.slice(0, 2)} means nothing in double quotes`, remedy: 'use single quotes' }
    case 'MISSING_CHAR':
    case 'UNEXPECTED_TOKEN':
      return { offset, ...describeCharacter(rest, message) }
    default:
      return { offset, ...noYaml }
  }
}

const noColon = { message: 'a colon and a blank are missing after this key' }
const noYaml = { message: 'this is not valid YAML', remedy: 'if it is meant as text, put it in quotes' }

function describeBlock(value: string): Explained {
  if (value.startsWith('- '))
    return { message: 'a list begins among keys here', remedy: 'indent it below the key that it belongs to' }
  return value.includes(': ')
    ? needsQuotes(value, 'with ": " in it')
    : { message: 'this key has a value, and lines below it as well', remedy: 'indent those less, or remove the value' }
}

/** `said` is the parser's message: one code covers all of these. */
function describeCharacter(rest: string, said: string): Explained {
  const [char = ''] = rest
  if (said.startsWith('Missing , ')) return { message: 'a comma is missing before this' }
  if (/^-[^\s-]/.test(rest)) return { message: 'a blank is missing after this -' }
  if (char === '#') return { message: 'a blank is missing before this #' }
  if (char === ',') return { message: 'a value is missing before this comma' }
  if (/[\]}]/.test(char))
    return { message: `this ${char} closes nothing`, remedy: 'remove it, or put the whole value in quotes' }
  if (said.startsWith('Sequence item without'))
    return {
      message: 'this line belongs to no entry of the list',
      remedy: 'begin it with "- ", or indent it like the rest of its entry',
    }
  if (said.startsWith('Implicit map keys')) return noColon
  if (said.endsWith('at node end'))
    return { message: 'the value ends before this', remedy: 'put all of it in quotes, or nothing' }
  if (said.startsWith('Block scalar header')) return { message: 'after | or > the text begins on the next line' }
  return noYaml
}

/** `{role: control ip: 10.0.0.1}`: to YAML that is a map with the key "control ip" inside a map on one line. */
function missingComma(rest: string, offset: number): SyntaxProblem | undefined {
  const [, before, key] = /^((?:"[^"]*"|'[^']*'|[^\s,[\]{}]+)\s+)([\w.-]+):\s/.exec(rest) ?? []
  return before === undefined
    ? undefined
    : { offset: offset + before.length, message: `a comma is missing before ${key}` }
}

/** A template's `{{ x }}` is a map inside a map to YAML, and its `{% if x %}` begins with a reserved character. */
function templateProblem(text: string, errors: readonly YAMLParseError[]): SyntaxProblem | undefined {
  for (const { code, pos } of errors) {
    if (code !== 'NON_STRING_KEY' && code !== 'BAD_SCALAR_START') continue
    for (const offset of [pos[0] - 1, pos[0]]) {
      const [placeholder] = /^\{(\{.*?\}|%.*?%)\}[^\s,\]}]*/.exec(text.slice(Math.max(0, offset))) ?? []
      if (placeholder !== undefined)
        return {
          offset: Math.max(0, offset),
          message: 'a template was not rendered here; if the value itself is meant, it needs quotes',
          remedy: quoted(placeholder),
        }
    }
  }
  return undefined
}

/**
 * The first quoted value that spans several lines or does not end with its quote: an open quote in [] or {} takes the next one, on
 * a later line, for its end, and to the parser only the last quote of the file is then open.
 */
function openQuote(text: string, document: Document.Parsed): number | undefined {
  const open: number[] = []
  visit(document, {
    Scalar: (_, { type = '', range }) => {
      if (!type.startsWith('QUOTE_') || !range) return
      const [start, end] = range
      const source = text.slice(start, end)
      if (source.includes('\n') || source.length < 2 || source.at(-1) !== source[0]) open.push(start)
    },
  })
  return open[0]
}

/** YAML 1.2 has no merge keys; with the usual parsers they would also multiply. */
function mergeKeys(document: Document.Parsed): SyntaxProblem[] {
  const found: SyntaxProblem[] = []
  visit(document, {
    Pair: (_, { key }) => {
      if (isScalar(key) && key.value === '<<')
        found.push({ offset: key.range?.[0] ?? 0, message: '<< merges no keys here', remedy: 'write the keys out' })
    },
  })
  return found
}

function unresolvedAliases(document: Document.Parsed): SyntaxProblem[] {
  const anchors = new Set<string>()
  const found: SyntaxProblem[] = []
  visit(document, {
    Node: (_, node) => {
      if ('anchor' in node && node.anchor !== undefined) anchors.add(node.anchor)
    },
    Alias: (_, { source, range }) => {
      if (anchors.has(source)) return
      const isName = /^[\w-]+$/.test(source)
      const alias = isName ? ` (as an alias it needs the anchor &${withoutKeys(source.slice(0, 60))} above it)` : ''
      const { message, remedy } = needsQuotes(`*${source}`, 'that begins with *')
      found.push({ offset: range?.[0] ?? 0, message, remedy: remedy + alias })
    },
  })
  return found
}

function needsQuotes(value: string, which: string) {
  return { message: `a value ${which} needs quotes`, remedy: quoted(value) }
}

/** With a wrong --config the value may be a key. */
function quoted(value: string): string {
  return withoutKeys(shown(value))
}

/** Up to the character that ends a value inside [] or {}. */
function flowValue(rest: string): string {
  return lineValue(/^[^,\]}\r\n]*/.exec(rest)?.[0] ?? '')
}

/** Up to a comment or the end of the line. */
function lineValue(rest: string): string {
  return (/^.*?(?=\s+#|\r?$)/m.exec(rest)?.[0] ?? '').trim()
}
