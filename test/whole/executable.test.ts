/** The executable of a clone: what it prints, and which cluster.yaml it takes. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, test } from 'node:test'
import { scratch } from '../support/files.ts'
import { entry, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const root = join(import.meta.dirname, '../..')

describe("the clone's executable, from another folder,", () => {
  const executable = join(root, 'bin/harderway')
  const call = (place: string, command: string, path = '') => {
    const env = { PATH: [path, process.env.PATH].join(delimiter), HOME: place, INIT_CWD: '/' }
    const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: place, env, encoding: 'utf8' })
    return { status, stdout, stderr }
  }

  test('prints its commands as it was started, by its path or by its name on the PATH', (t) => {
    const place = scratch(t)
    const bin = join(place, 'its bin')
    mkdirSync(bin)
    symlinkSync(executable, join(bin, 'harderway'))
    for (const [typed, path] of [
      [executable],
      ["'its bin/harderway'"],
      ["'./its bin/harderway'"],
      ['harderway', bin],
    ] as const) {
      const { status, stderr } = call(place, `${typed} certs --frce`, path)
      assert.equal(status, 2, stderr)
      const [, printed = ''] = /\n {6}(.*)\n$/.exec(stderr) ?? []
      assert.equal(printed, `${typed} --help`)
      assert.equal(call(place, printed, path).status, 0, printed)
    }
  })

  test('takes the cluster.yaml of that folder', (t) => {
    const place = scratch(t)
    const none = call(place, `${executable} certs`)
    assert.deepEqual([none.status, none.stdout], [2, ''])
    assert.match(none.stderr, /cluster\.yaml does not exist\n.*--config FILE, or create one:\n.* init DIR\n$/)
    writeCluster(place)
    const here = call(place, `${executable} plan certs`)
    assert.equal(here.stderr, '')
    assert.match(here.stdout, new RegExp(`^kubenet: ${place}/cluster.yaml, `))
  })

  test('leaves out --config in that folder; a timer, which runs Node, is told it: npm would take the cluster.yaml of the clone', (t) => {
    const place = scratch(t)
    writeCluster(place)
    const [byTimer, here] = [`${process.execPath} ${entry}`, executable].map((start) =>
      call(place, `${start} certs --dry-run --config ${place}/cluster.yaml`),
    )
    assert.match(byTimer?.stdout ?? '', new RegExp(`npm .*run task -- certs --config ${place}/cluster\\.yaml\\b`))
    assert.doesNotMatch(here?.stdout ?? '', /--config/)
  })

  test('has no complaint of shellcheck', { skip: needs('shellcheck') }, () => {
    execFileSync('shellcheck', [executable])
  })
})
