import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { parseCommandLine } from '../../../tasks/commands/command-line.ts'
import { helpOf, helpText, listText } from '../../../tasks/commands/help.ts'
import { commands, commonOptions, questions, run } from '../../../tasks/commands/table.ts'
import { optionNames, optionTable } from '../../../tasks/request/options.ts'
import { phases } from '../../../tasks/tables/phases.ts'

const looks = ['verify', 'status', 'graph', 'report']
const ofRunAlone = ['--renew', '--prune', '--replace-identity', '--offline']
const ofRotate = ['--force', '--dry-run']

const understood: readonly [string, string][] = [
  ['certs', ''],
  ['bootstrap --dry-run --node worker0 --force --concurrency 4 --wait-nodes 2m --no-lock-wait', ''],
  ['verify --node worker0 --no-lock-wait', 'verify'],
  ['status --on-nodes --node worker0 --wait-nodes 2m --concurrency 4', 'status'],
  ['--json status --config other.yaml', 'status'],
  ['graph --format dot --node worker0', 'graph'],
  ['report --format=html --quiet', 'report'],
  ['recover --node control0 --wait-nodes 2m --no-lock-wait', 'recover'],
  ['recover --from ../backup', 'recover'],
  // With --help nothing is done: whatever else is there may be wrong.
  ['status certs --force --help', 'status'],
]

for (const [line, name] of understood)
  test(`"${line}" is ${name || 'the run'}`, () => {
    assert.equal(parseCommandLine(line.split(' ')).command.name, name)
  })

for (const word of ['help', 'list', 'version'] as const)
  test(`"${word}" does what --${word} does`, () => {
    for (const line of [[word], ['--json', word], [word, 'status']])
      assert.equal(parseCommandLine(line).options[word], true, line.join(' '))
    assert.deepEqual(parseCommandLine([word, 'status']).options.names, ['status'])
  })

for (const [line, message] of [
  ['plan', '"plan" is not a command: npm run bootstrap -- --dry-run'],
  ['bootstrap diff', '"diff" is not a command: npm run bootstrap -- --dry-run'],
  ['apply --config a.yaml', '"apply" is not a command: npm run bootstrap -- --config a.yaml'],
  ['up', '"up" is not a command: npm run bootstrap'],
  ['deploy-all', '"deploy-all" is not a command: npm run bootstrap'],
  [
    'restore',
    '"restore" is not a command: npm run task -- recover --from DIR, or from a control node: npm run task -- recover --node NAME',
  ],
  ['backup', '"backup" is not a command: copy auth/ to a safe place (docs/backup.md)'],
  ['check', '"check" is not a command: npm run bootstrap -- --dry-run; the TLS handshakes: npm run task -- verify'],
  ...(['delete', 'destroy'] as const).map(
    (word) =>
      [
        word,
        `"${word}" is not a command: no cluster is removed; take a node out of cluster.yaml, then npm run task -- status lists what is left to do`,
      ] as const,
  ),
  ['renew', '"renew" is not a command: npm run bootstrap renews what expires soon; the CA: npm run task -- ca --renew'],
] as const)
  test(`"${line}", a word of other tools, gets the command in one line`, () => {
    assert.throws(() => parseCommandLine(line.split(' ')), { kind: 'usage', message, remedy: undefined })
  })

const refused: readonly (readonly [string, string])[] = [
  ['bootstrap graph', "graph can't be combined with bootstrap"],
  ['status verify', "status can't be combined with verify"],
  ['ca rotate', "rotate can't be combined with ca"],
  ['status status', "status can't be combined with status"],
  ...looks.flatMap((look) => [
    [`${look} certs`, `${look} can't be combined with certs`] as const,
    ...ofRunAlone.map(
      (option) => [`${look} ${option}`, `${option} is not an option of ${look}, only of runs`] as const,
    ),
    ...ofRotate.map(
      (option) => [`${look} ${option}`, `${option} is not an option of ${look}, only of runs and rotate`] as const,
    ),
  ]),
  ['certs --on-nodes', '--on-nodes is not an option of runs, only of status and report'],
  ['graph --on-nodes', '--on-nodes is not an option of graph, only of status and report'],
  ['verify --write DIR', '--write is not an option of verify, only of schedule'],
  ['status --format dot', '--format is not an option of status, only of runs, graph, and report'],
  [
    'verify --concurrency 2',
    '--concurrency is not an option of verify, only of runs, status, report, rotate, and recover',
  ],
  ['certs --from ../backup', '--from is not an option of runs, only of recover and init'],
  ['recover --node control0 --force', '--force is not an option of recover, only of runs and rotate'],
  ['status --offline', '--offline is not an option of status, only of runs'],
  ['report --node worker0', '--node is not an option of report, only of runs, verify, status, graph, and recover'],
]

for (const [line, message] of refused)
  test(`"${line}" is bad usage: ${message}`, () => {
    assert.throws(
      () => parseCommandLine(line.split(' ')),
      (error: unknown) => {
        assert.ok(error instanceof Failure, String(error))
        assert.deepEqual([error.kind, error.message], ['usage', message])
        assert.match(error.remedy ?? '', /^npm run task -- (\w+ )?--help$/)
        return true
      },
    )
  })

test('each row of the table has a command behind it, and a name and options of its own', async () => {
  assert.equal(new Set(commands.map(({ name }) => name)).size, commands.length)
  for (const { name, options, load } of commands) {
    assert.equal(typeof (await load()), 'function', name)
    assert.deepEqual(
      options.filter((option) => [...commonOptions, ...questions].includes(option)),
      [],
      name,
    )
  }
  const taken = new Set([...commonOptions, ...questions, ...commands.flatMap(({ options }) => options)])
  assert.deepEqual(
    optionNames.filter((name) => !taken.has(name)),
    [],
  )
})

const optionsIn = (help: string) => [...help.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, name]) => name)

test('the help fits 80 columns, and so does that of each command', () => {
  for (const text of [helpText(), ...commands.map((command) => helpOf(command))])
    for (const line of text.split('\n')) assert.ok(line.length <= 80, line)
})

test('the help names the options of every command, every phase and every command', () => {
  const help = helpText()
  assert.deepEqual(optionsIn(help), [...commonOptions, ...questions])
  for (const look of looks) assert.match(help, new RegExp(`^  npm run task -- ${look} +\\S`, 'm'))
  assert.match(help, /^ {2}npm run bootstrap +\S/m)
  assert.ok(help.replace(/\s+/g, ' ').includes(phases.map(({ name }) => name).join(', ')))
})

test('the help of a command explains its own options, and points at the common ones in one line', () => {
  for (const command of commands) {
    const help = helpOf(command)
    assert.deepEqual(optionsIn(help), command.options)
    const common = command.isWithoutCluster ? '' : '--config, '
    assert.ok(
      help.split('\n').includes(`Also ${common}--json, --verbose and --quiet: see npm run task -- --help`),
      help,
    )
  }
})

test('each option has an explanation in the help of every command that takes it', () => {
  for (const command of commands)
    for (const name of command.options) {
      const { value } = optionTable[name]
      const typed = `--${name}${value === undefined ? '' : ` ${value}`}`
      assert.match(helpOf(command), new RegExp(`^ {2}${typed} +\\w`, 'm'))
    }
})

test('the list names every phase and every command, and fits 80 columns', () => {
  const lines = listText().split('\n')
  const named = lines.flatMap((line) => /^ {2}(\S+)/.exec(line)?.[1] ?? [])
  assert.deepEqual(named, [...phases, ...commands].map(({ name }) => name).filter(Boolean))
  for (const line of lines) assert.ok(line.length <= 80, line)
})

test('the help of a command says nothing of others', () => {
  for (const command of commands) {
    const help = helpOf(command)
    for (const { name } of commands) if (name !== '') assert.doesNotMatch(help, new RegExp(`^ {2}--.* ${name}: `, 'm'))
  }
})

test('the help of a command lists its exit statuses, and no others', () => {
  const statuses = (help: string) => [...help.matchAll(/(\d+)(?= [^;]+[;.])/g)].map(([, number]) => number)
  const told = (name: string) => {
    const help = helpOf(commands.find((command) => command.name === name) ?? run).replace(/\s+/g, ' ')
    return statuses(help.slice(help.indexOf('Exit status:')))
  }
  assert.deepEqual(told(''), ['0', '1', '2', '3', '4', '128'])
  assert.deepEqual(told('verify'), ['0', '1', '2', '4', '128'])
  assert.deepEqual(told('graph'), ['0', '2', '128'])
})

test('the help loses no word of a long explanation', () => {
  const words = helpOf(run).replace(/\s+/g, ' ')
  assert.match(words, /the CA, the service-account key and the encryption key only if that very target is named/)
  assert.match(words, /overwrite a node that holds another CA, service-account key or encryption key/)
})
