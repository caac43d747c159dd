/** `completion`: what bash and zsh offer for the last word of a command line. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const offered: readonly (readonly [words: readonly string[], offers: readonly string[]])[] = [
  [['stat'], ['status']],
  [['re'], ['revoked', 'revoked-keys', 'report', 'recover']],
  [['cert'], ['certs']],
  [['ca', 'encr'], ['encryption-key']],

  [['rotate', 's'], ['service-account']],
  [['init', ''], []],
  [
    ['status', '--no'],
    ['--node', '--no-lock-wait'],
  ],
  [['status', '--f'], []],
  [
    ['graph', '--format', ''],
    ['mermaid', 'dot'],
  ],
  [['report', '--format', 'p'], ['prometheus']],
  [
    ['init', 'x', '--layout', ''],
    ['harder-way', 'hard-way'],
  ],
  [['status', '--node', ''], []],
  [['certs', '--dry'], ['--dry-run']],
  // Files, as bash and zsh complete them by default.
  [['status', '--config', 'c'], []],
]

for (const [shell, [begin, args]] of Object.entries({
  bash: ['', ['--norc', '-c']],
  zsh: ['autoload -Uz compinit && compinit -u -D\n', ['-f', '-c']],
} as const))
  test(`${shell} completes by the script`, { skip: needs(shell) }, async (t) => {
    const place = scratch(t)
    const { stdout } = await exits(0, place, 'completion', shell)
    writeFileSync(join(place, 'script'), stdout)
    const call = [...args, `${begin}. ./script\nharderway --list`]
    assert.match(execFileSync(shell, call, { cwd: place, encoding: 'utf8' }), /^Phases\n/)
    const asks = offered.map(([words]) => {
      const line = ['harderway', ...words].map((word) => `'${word}'`).join(' ')
      const ask = `COMP_WORDS=(${line}); COMP_CWORD=${words.length}; _harderway; printf "%s\\n" "\${COMPREPLY[@]}" --end--`
      return shell === 'zsh' ? `emulate sh -c '${ask.replaceAll("'", '"')}'` : ask
    })
    const env = { PATH: process.env.PATH, HOME: place }
    const script = [`${begin}. ./script`, ...asks].join('\n')
    const said = execFileSync(shell, [...args, script], { cwd: place, env, encoding: 'utf8' }).split('--end--\n')
    for (const [i, [words, offers]] of offered.entries()) {
      // zsh itself leaves out what does not begin so.
      const found = said[i]?.split('\n').filter((each) => each !== '' && each.startsWith(words.at(-1) ?? ''))
      assert.deepEqual(found, offers, words.join(' '))
    }
  })

test('a shell that is not known is bad usage', async (t) => {
  for (const shell of [[], ['fish'], ['toString']]) await exits(2, scratch(t), 'completion', ...shell)
})
