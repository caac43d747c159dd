import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { readAnswer } from '../../../lib/remote/frame.ts'
import {
  commandScript,
  forgetScript,
  listensScript,
  type Placing,
  placeScript,
  putBackScript,
  readScript,
  removeScript,
} from '../../../lib/remote/places.ts'
import { newSuffix, oldSuffix } from '../../../lib/remote/units-look.ts'
import { fill } from '../../support/full-disk.ts'
import { fakeTool, sha256, snapshot } from '../../support/node-files.ts'
import { anybody, inEachShell, isRoot, oddEnvironment } from '../../support/node-shells.ts'
import { scratch } from '../../support/scratch.ts'

const nonce = '0123456789abcdef'
const names = ['ca.pem', 'kubernetes.pem', 'kubernetes-key.pem']
const mode = (name: string) => (name.includes('key') ? 0o600 : 0o644)
const canMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0
const canLock = isRoot && spawnSync('sh', ['-c', 'f=$(mktemp); chattr +i $f && chattr -i $f']).status === 0

/** New files where they were deployed, and old ones in their places, but for the first, which is new there. */
function folders(t: TestContext) {
  const [source, place] = [scratch(t), scratch(t)]
  for (const name of names) writeFileSync(join(source, name), `new ${name}\n`, { mode: 0o640 })
  for (const name of names.slice(1)) writeFileSync(join(place, name), `old ${name}\n`, { mode: 0o600 })
  const files = names.map((name) => ({
    file: name,
    path: join(place, name),
    mode: mode(name),
    digest: sha256(`new ${name}\n`),
  }))
  return { source, place, placing: { source, sudo: '', files } satisfies Placing }
}

inEachShell(({ run, did }) => {
  const answer = (script: string, more: { path?: string } = {}) => {
    const { status, stdout, stderr } = run('/', script, more)
    assert.equal(status, 0, stderr)
    return readAnswer(stdout, nonce).records.map((record) => record.replace(/^said /, ''))
  }
  const place = (placing: Placing, more?: { path?: string }) => answer(placeScript(placing, nonce), more)
  const contents = (folder: string) =>
    Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]))

  describe('placing', { skip: !isRoot && "files become root's" }, () => {
    test("gives each file its place, root's, with its mode, and keeps the old one beside it", (t) => {
      const { place: folder, placing } = folders(t)
      assert.deepEqual(place(placing), ['placed'])
      for (const name of names) {
        const stat = lstatSync(join(folder, name))
        assert.deepEqual([stat.uid, stat.gid, stat.mode & 0o7777], [0, 0, mode(name)], name)
      }
      assert.deepEqual(contents(folder), {
        ...Object.fromEntries(names.map((name) => [name, `new ${name}\n`])),
        ...Object.fromEntries(names.slice(1).map((name) => [`${name}${oldSuffix}`, `old ${name}\n`])),
      })
    })

    test('is the same whatever tools would read from the environment', (t) => {
      const { place: folder, placing } = folders(t)
      assert.deepEqual(answer(oddEnvironment + placeScript(placing, nonce)), ['placed'])
      for (const name of names) {
        const { uid, mode: found } = lstatSync(join(folder, name))
        assert.deepEqual(
          [uid, found & 0o7777, readFileSync(join(folder, name), 'utf8')],
          [0, mode(name), `new ${name}\n`],
        )
      }
      answer(oddEnvironment + forgetScript({ sudo: '', paths: placing.files.map(({ path }) => path) }, nonce))
      assert.deepEqual(readdirSync(folder).toSorted(), names.toSorted())
    })

    test('is on the disk before it takes its place, and its place is when it is told', (t) => {
      const { place: folder, placing } = folders(t)
      const told = join(scratch(t), 'told')
      const now = `$(cat ${join(folder, 'kubernetes.pem')})`
      assert.deepEqual(place(placing, { path: fakeTool(t, 'sync', `echo "$* ${now}" >> ${told}`) }), ['placed'])
      const synced = names.map((name) => `-- ${join(folder, name)}${newSuffix} old kubernetes.pem`)
      assert.deepEqual(readFileSync(told, 'utf8').trim().split('\n'), [...synced, `-- ${folder} new kubernetes.pem`])
    })

    test('puts the old ones back, and forgets them', (t) => {
      const { place: folder, placing } = folders(t)
      const old = contents(folder)
      const paths = placing.files.map(({ path }) => path)
      place(placing)
      assert.deepEqual(answer(putBackScript({ sudo: '', paths }, nonce)), ['done'])
      assert.deepEqual(contents(folder), { ...old, 'ca.pem': 'new ca.pem\n' })
      place(placing)
      writeFileSync(join(folder, `kubernetes-key.pem${newSuffix}`), 'left')
      assert.deepEqual(answer(forgetScript({ sudo: '', paths }, nonce)), ['done'])
      assert.deepEqual(readdirSync(folder).toSorted(), names.toSorted())
    })

    const others: Readonly<Record<string, (source: string) => void>> = {
      'is another than was deployed': (path) => writeFileSync(path, 'other\n'),
      'is not there': (path) => rmSync(path),
      'is a pipe': (path) => {
        rmSync(path)
        execFileSync('mkfifo', [path])
      },
      'is a link to what others may not read': (path) => {
        rmSync(path)
        symlinkSync('/etc/shadow', path)
      },
    }
    for (const [what, change] of Object.entries(others))
      test(`changes nothing where a file in the source ${what}`, (t) => {
        const { source, place: folder, placing } = folders(t)
        const before = snapshot(folder)
        change(join(source, 'kubernetes-key.pem'))
        assert.deepEqual(place(placing), ['source kubernetes-key.pem'])
        assert.deepEqual(snapshot(folder), before)
      })

    test('replaces a link in a place, not what it leads to, and puts it back', (t) => {
      const { place: folder, placing } = folders(t)
      const [path, elsewhere] = [join(folder, 'kubernetes.pem'), join(scratch(t), 'mine')]
      writeFileSync(elsewhere, 'mine')
      rmSync(path)
      symlinkSync(elsewhere, path)
      assert.deepEqual(place(placing), ['placed'])
      assert.ok(lstatSync(path).isFile())
      assert.equal(readFileSync(elsewhere, 'utf8'), 'mine')
      answer(putBackScript({ sudo: '', paths: [path] }, nonce))
      assert.equal(readlinkSync(path), elsewhere)
    })

    test('follows no link beside a place', (t) => {
      const { place: folder, placing } = folders(t)
      const elsewhere = join(scratch(t), 'mine')
      writeFileSync(elsewhere, 'mine')
      symlinkSync(elsewhere, join(folder, `kubernetes-key.pem${newSuffix}`))
      symlinkSync(elsewhere, join(folder, `kubernetes-key.pem${oldSuffix}`))
      assert.deepEqual(place(placing), ['placed'])
      assert.equal(readFileSync(elsewhere, 'utf8'), 'mine')
      assert.equal(readFileSync(join(folder, `kubernetes-key.pem${oldSuffix}`), 'utf8'), 'old kubernetes-key.pem\n')
    })

    test('changes nothing where a folder stands in a place, or its folder does not exist', (t) => {
      const { place: folder, placing } = folders(t)
      mkdirSync(join(folder, 'ca.pem'))
      const before = snapshot(folder)
      assert.match(place(placing)[0] ?? '', /^undone /)
      const far = { file: 'ca.pem', path: join(folder, 'gone/ca.pem'), mode: 0o644, digest: sha256('new ca.pem\n') }
      assert.match(place({ ...placing, files: [far, ...placing.files.slice(1)] })[0] ?? '', /^undone /)
      assert.deepEqual(contents(join(folder, 'ca.pem')), {})
      assert.deepEqual(Object.keys(snapshot(folder)), Object.keys(before))
    })

    test('changes nothing where a file is immutable', { skip: !canLock && 'no chattr' }, (t) => {
      const { place: folder, placing } = folders(t)
      const before = contents(folder)
      const last = join(folder, 'kubernetes-key.pem')
      execFileSync('chattr', ['+i', last])
      try {
        assert.match(place(placing)[0] ?? '', /^undone .*not permitted/)
      } finally {
        execFileSync('chattr', ['-i', last])
      }
      assert.deepEqual(contents(folder), before)
    })

    test('undoes all where one can not be renamed', (t) => {
      const { place: folder, placing } = folders(t)
      const before = contents(folder)
      const path = fakeTool(t, 'mv', `case "$*" in *key.pem${newSuffix}*) echo no >&2; exit 1 ;; esac; real "$@"`)
      assert.deepEqual(place(placing, { path }), ['undone no'])
      assert.deepEqual(contents(folder), before)
    })

    test('says where it could not undo', (t) => {
      const { placing } = folders(t)
      const refuse = `case "$*" in *key.pem${newSuffix}*|*${oldSuffix}*) echo no >&2; exit 1 ;; esac`
      const path = fakeTool(t, 'mv', `${refuse}; real "$@"`)
      assert.deepEqual(place(placing, { path }), ['half no'])
    })

    test('waits for another that is at work there', (t) => {
      const { source, place: folder, placing } = folders(t)
      const before = snapshot(folder)
      const flock = fakeTool(t, 'flock', `echo >> ${join(source, 'asked')}; exit 1`)
      assert.deepEqual(place(placing, { path: `${flock}:${fakeTool(t, 'sleep', 'exit 0')}` }), ['busy'])
      assert.equal(readFileSync(join(source, 'asked'), 'utf8').length, 30)
      assert.deepEqual(snapshot(folder), before)
    })

    const link = 'ln -s "$VICTIM" "$f" 2>/dev/null || :'
    for (const [when, tool, script] of [
      ['before it is written', 'rm', `real "$@"; for f; do :; done; ${link}`],
      ['after', 'sha256sum', `real "$@"; for f in "$FOLDER"/*-new; do mv -- "$f" "$FOLDER/away"; ${link}; done`],
    ] as const)
      test(`changes no file to which the owner of the folder gives its name by a link ${when}`, (t) => {
        const { place: folder, placing } = folders(t)
        const victim = join(scratch(t), 'victim')
        writeFileSync(victim, 'mine', { mode: 0o640 })
        if (isRoot) chownSync(victim, anybody, anybody)
        const [before] = [snapshot(dirname(victim))]
        place(placing, { path: fakeTool(t, tool, `FOLDER=${folder} VICTIM=${victim}\n${script}`) })
        assert.deepEqual(snapshot(dirname(victim)), before)
        assert.equal(lstatSync(victim).uid, isRoot ? anybody : process.getuid?.())
      })
  })

  test('placing changes nothing on a full disk', { skip: !canMount && 'no leave to mount' }, (t) => {
    const { place: folder, placing } = folders(t)
    const sh = `mount -t tmpfs -o size=16k tmpfs ${folder}; for f in kubernetes kubernetes-key; do echo old >${folder}/$f.pem; done
      ${process.execPath} ${new URL('../../support/full-disk.ts', import.meta.url).pathname} ${folder}/full 1
      ls -A ${folder}; sh; ls -A ${folder}; cat ${folder}/kubernetes.pem ${folder}/kubernetes-key.pem`
    const { stdout } = spawnSync('unshare', ['-m', 'sh', '-c', sh], {
      input: placeScript(placing, nonce),
      encoding: 'utf8',
    })
    const listed = 'full\nkubernetes-key.pem\nkubernetes.pem\n'
    const [before, ...rest] = stdout.split(`\n${nonce} `)
    assert.equal(before, listed)
    assert.match(rest.join(''), /said undone .*No space left/)
    assert.ok(stdout.endsWith(`${listed}old\nold\n`), stdout)
    assert.equal(typeof fill, 'function')
  })

  test('reads files, and removes those that are still the same', (t) => {
    const folder = scratch(t)
    const paths = ['a', 'b', 'c'].map((name) => join(folder, name))
    for (const path of paths) writeFileSync(path, `${path}\n\0`)
    writeFileSync(paths[2] ?? '', '')
    const lines = answer(readScript({ sudo: '', paths }, nonce))
    assert.deepEqual(
      lines.map((line) => Buffer.from(line, 'hex').toString()),
      [...paths.map((path) => readFileSync(path, 'utf8')), ''],
    )
    const digests = new Map(paths.map((path) => [path, sha256(readFileSync(path))]))
    writeFileSync(paths[1] ?? '', 'another')
    answer(removeScript('', digests, nonce))
    assert.deepEqual(readdirSync(folder), ['b'])
  })

  test("a command's status and words are told, whatever it says and reads", () => {
    assert.deepEqual(answer(commandScript('', 'cat; echo one; echo two >&2; exit 7', nonce)), [
      'status 7',
      'one',
      'two',
    ])
    assert.deepEqual(answer(commandScript('', `printf '${nonce} end 0\\n'`, nonce)), ['status 0', `${nonce} end 0`])
    assert.equal(answer(commandScript('', 'yes', nonce).replace('yes', 'seq 100')).length, 40)
  })

  test('a root that can not be asked is told', () => {
    const { stdout } = run('/', commandScript('false', 'echo one', nonce))
    assert.equal(readAnswer(stdout, nonce).stopped?.why, 'root')
  })

  test('tells which ports something listens on, on that address or on all', async (t) => {
    // Other tests listen on 127.0.0.1, where a port that is free on another address may be in use.
    const hosts = ['127.77.0.1', '127.77.0.2', '::1', '0.0.0.0', '::', '::ffff:127.77.0.1']
    const servers = hosts.map((host) => createServer().listen(0, host))
    t.after(() => servers.map((server) => server.close()))
    await Promise.all(servers.map((server) => once(server, 'listening')))
    const ports = new Map(servers.map((server, i) => [(server.address() as AddressInfo).port, hosts[i]]))
    const listensOn = (address: string) => {
      const told = did('/', listensScript(address, [1, ...ports.keys()], nonce)).match(/^\d+$/gm) ?? []
      return told.map((port) => ports.get(Number(port)))
    }
    assert.deepEqual(listensOn('127.77.0.1'), ['127.77.0.1', '0.0.0.0', '::', '::ffff:127.77.0.1'])
    assert.deepEqual(listensOn('127.77.0.2'), ['127.77.0.2', '0.0.0.0', '::'])
    assert.deepEqual(listensOn('::1'), ['::1', '0.0.0.0', '::'])
  })

  test('what is linked elsewhere too is replaced in its place alone', { skip: !isRoot && 'needs root' }, (t) => {
    const { place: folder, placing } = folders(t)
    linkSync(join(folder, 'kubernetes.pem'), join(folder, 'elsewhere'))
    chmodSync(join(folder, 'elsewhere'), 0o640)
    place(placing)
    assert.equal(readFileSync(join(folder, 'elsewhere'), 'utf8'), 'old kubernetes.pem\n')
  })
})
