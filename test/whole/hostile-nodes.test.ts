import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { makePair, readIssuer } from '../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { certTable, layoutRules } from '../../tasks/layouts/tables.ts'
import { fakeTool, scratch, stateOf } from '../support/files.ts'
import {
  assertStatus,
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  makePlace,
  messageOf,
  oneOfEach,
  type Ran,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const names = ['control0', 'worker0', 'gateway'] as const
const config = 'encryption-config.yaml'
const hour = 3_600_000

describe('a node that is not what it should be', { skip: needs('ssh', 'flock') }, () => {
  const suite = localPlace(...names)
  const { place } = suite
  let other: string
  let kept: string
  const auth = (of = place) => join(of, 'auth')
  const home = (name = 'control0') => suite.lab.node(name).home
  const homes = () => Object.fromEntries(names.map((name) => [name, withoutChangeTime(stateOf(home(name)))]))
  const deploy = (...args: string[]) => harderway(place, 'deploy', '--json', ...args)
  /** With something else said of one of them. */
  const writeNode = (i: number, change: object) => {
    const nodes = oneOfEach.find(([path]) => path[0] === 'nodes')?.[1] as object[]
    write([['nodes'], nodes.with(i, { ...nodes[i], ...change })])
  }
  const write = (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), ...more])
  /** Its sessions find these first. */
  const withTools = async (name: string, folder: string, work: () => Promise<void>) => {
    await suite.lab.node(name).restart({ env: { PATH: `${folder}:${process.env.PATH}` } })
    try {
      await work()
    } finally {
      await suite.lab.node(name).restart({ env: {} })
    }
  }

  before(async () => {
    other = makePlace()
    for (const each of [place, other]) writeCluster(each, [...oneOfEach, ...labEdits(suite.lab)])
    await exits(0, place, 'bootstrap')
    await exits(0, other, 'certs', 'kubeconfigs', 'encryption-key')
    kept = join(place, 'kept')
    for (const name of names) cpSync(home(name), join(kept, name), { recursive: true })
    cpSync(auth(), join(kept, 'auth'), { recursive: true })
  })
  beforeEach(() => {
    write()
    for (const [folder, name] of [[auth(), 'auth'] as const, ...names.map((name) => [home(name), name] as const)]) {
      for (const file of readdirSync(folder)) rmSync(join(folder, file), { recursive: true })
      cpSync(join(kept, name), folder, { recursive: true })
    }
  })
  after(() => rmSync(other, { recursive: true, force: true }))

  /** control0 fails, the others are as they should be, and nothing has been changed anywhere. */
  const assertUnknown = async (said: RegExp, ...args: string[]) => {
    const before = homes()
    const ran = await withStatus(1, deploy(...args))
    assert.deepEqual(idsOf(ran, 'failed'), ['deploy/control0'])
    assert.match(String(messageOf(ran, 'deploy/control0')), said)
    assert.deepEqual(
      idsOf(ran, 'fresh').filter((id) => id.startsWith('deploy/')),
      ['deploy/gateway', 'deploy/worker0'],
    )
    assert.deepEqual(homes(), before)
  }

  describe('cannot be inspected', () => {
    // What else may go wrong there: test/lib/node/look.test.ts.
    test('where sha256sum prints nothing and exits 0, though it holds another identity', async (t) => {
      for (const name of ['ca.pem', 'ca-key.pem', 'service-account.pem', 'service-account-key.pem', config])
        copyFileSync(join(auth(other), name), join(home(), name))
      await withTools('control0', fakeTool(t, 'sha256sum', 'exit 0'), () =>
        assertUnknown(/^control0: could not be inspected: /),
      )
    })

    test('where the login exits 0 without a word', (t) =>
      withTools('control0', fakeTool(t, 'sh', 'exit 0'), async () => {
        await assertUnknown(/^control0: could not be inspected: its answer is incomplete$/)
        const told = await exits(1, place, 'status', '--on-nodes')
        assert.match(told.stdout, /control0 +could not be inspected/)
      }))
  })

  for (const [whose, open, closed] of [
    ['may be written by others', 'chmod 0777', 'chmod 0700'],
    ['is another user\u2019s', 'chown nobody', 'chown 0'],
  ] as const)
    test(`has a folder that ${whose}: nothing is copied there`, {
      skip: process.getuid?.() !== 0 && open.startsWith('chown') && 'only root gives files away',
    }, async () => {
      const folder = home('worker0')
      rmSync(join(folder, 'worker0-key.pem'))
      execFileSync('sh', ['-c', `${open} "$1"`, 'sh', folder])
      const ran = await deploy()
      execFileSync('sh', ['-c', `${closed} "$1"`, 'sh', folder])
      assertStatus(ran, 1)
      assert.match(String(messageOf(ran, 'deploy/worker0')), /^worker0: \S+ there may be changed by others than \S+: /)
      assert.equal(existsSync(join(folder, 'worker0-key.pem')), false)
      await withStatus(0, deploy())
    })

  describe('does not follow instructions', () => {
    const pairs = ['ca', 'kubernetes', 'service-account', 'control0']
    const assertPairs = () => {
      for (const name of pairs) {
        const read = (file: string) => readFileSync(join(home(), file))
        assert.ok(
          new X509Certificate(read(`${name}.pem`)).checkPrivateKey(createPrivateKey(read(`${name}-key.pem`))),
          name,
        )
      }
    }
    /** New pairs in auth/, so that each file but the identity's differs. */
    const renew = async () => {
      await exits(0, place, 'cluster-cert', 'component-certs', 'node-certs', 'kubeconfigs', '--force')
    }

    const canChattr = process.getuid?.() === 0 && spawnSync('chattr', ['-i', '/tmp']).status === 0
    for (const file of ['kubernetes-key.pem', 'kubernetes.pem', 'ca.pem'])
      test(`an immutable ${file}: nothing at all is replaced`, {
        skip: !canChattr && 'needs root, and a file system that has it',
      }, async () => {
        await renew()
        const before = homes()
        execFileSync('chattr', ['+i', join(home(), file)])
        let ran: Ran
        try {
          ran = await deploy('--node', 'control0', ...(file === 'ca.pem' ? ['--force'] : []))
        } finally {
          execFileSync('chattr', ['-i', join(home(), file)])
        }
        assertStatus(ran, 1)
        assert.match(
          String(messageOf(ran, 'deploy/control0')),
          new RegExp(
            `^control0: a file could not be replaced, so every file is as it was \\(.*${file}.*not permitted\\)$`,
          ),
        )
        assert.deepEqual(homes(), before)
        assertPairs()
        await withStatus(0, deploy())
        await withStatus(0, deploy('--dry-run'))
      })

    test('an mv that does nothing and exits 0 is a failed deploy', async (t) => {
      await renew()
      const before = homes()
      const lazy = fakeTool(t, 'mv', 'case "$*" in *" .") exit 0 ;; esac; real "$@"')
      await withTools('control0', lazy, async () => {
        const ran = await withStatus(1, deploy('--node', 'control0'))
        assert.match(
          String(messageOf(ran, 'deploy/control0')),
          /^control0: its files are not right after they were put in place: kubernetes\.pem.* differ/,
        )
      })
      assert.deepEqual(homes(), before)
    })

    test('no flock: reported, and nothing is replaced', async (t) => {
      rmSync(join(home(), 'ca.pem'))
      const tools = fakeTool(t, 'nothing', '')
      for (const tool of 'sh cat date stat sha256sum id ls grep od tar sync chmod mv rm ln mkdir'.split(' '))
        symlinkSync(execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim(), join(tools, tool))
      const before = homes()
      await suite.lab.node('control0').restart({ env: { PATH: tools } })
      try {
        const ran = await withStatus(1, deploy())
        assert.match(String(messageOf(ran, 'deploy/control0')), /^control0: has no flock/)
      } finally {
        await suite.lab.node('control0').restart({ env: {} })
      }
      assert.deepEqual(homes(), before)
    })
  })

  test('two machines that deploy at once: each node ends with one set', async (t) => {
    // Each has pairs of its own under the same identity.
    const second = scratch(t)
    mkdirSync(join(second, 'home'))
    cpSync(auth(), auth(second), { recursive: true })
    writeCluster(second, [...oneOfEach, ...labEdits(suite.lab)])
    await exits(0, second, 'cluster-cert', 'component-certs', 'node-certs', 'kubeconfigs', '--force')
    // The first to rename stands still after one file, until the other waits for it, or has gone by.
    const gate = scratch(t)
    const mv = fakeTool(
      t,
      'mv',
      `case "$*" in *old/*) real "$@"; exit ;; *" .") ;; *) real "$@"; exit ;; esac
if ! mkdir ${gate}/first 2>/dev/null; then real "$@"; : > ${gate}/passed; exit; fi
real -f -- "$3" .
n=0
until [ -e ${gate}/waits ] || [ -e ${gate}/passed ] || [ $n -gt 6000 ]; do sleep 0.01; n=$((n + 1)); done
shift 3
real -f -- "$@"`,
    )
    const flock = fakeTool(t, 'flock', `real "$@" || { status=$?; : > ${gate}/waits; exit $status; }`)
    await withTools('control0', `${mv}:${flock}`, async () => {
      const runs = await Promise.all(
        [place, second].map((each) => harderway(each, 'deploy', '--node', 'control0', '--force')),
      )
      for (const ran of runs) assertStatus(ran, 0)
    })
    const files = Object.keys(stateOf(join(kept, 'control0'))).filter((name) => !name.startsWith('.'))
    const sets = [place, second].map((each) =>
      files.filter((name) => readFileSync(join(home(), name)).equals(readFileSync(join(auth(each), name)))),
    )
    assert.ok(
      sets.some(({ length }) => length === files.length),
      `of ${files.length} files: ${sets.map((set) => set.join())}`,
    )
    assert.deepEqual([existsSync(join(gate, 'waits')), existsSync(join(gate, 'passed'))], [true, true])
    assert.deepEqual(
      readdirSync(home()).filter((name) => name.startsWith('.harderway')),
      [],
    )
  })

  describe('holds certificates that are newer than ours', () => {
    /** Our pair becomes one that was made a day ago. */
    const older = async (name: string) => {
      const folder = new AuthDir(auth(), harderWay.files)
      const parsed = parseCluster(readFileSync(join(place, 'cluster.yaml')), layoutRules)
      assert.ok('cluster' in parsed)
      const { profile } = certTable(parsed.cluster).find((row) => row.name === name) ?? assert.fail()
      const now = new Date(Date.now() - 24 * hour)
      await makePair(folder, name, { profile, issuer: readIssuer(folder), now, validity: 300 * 24 * hour })
    }

    for (const [name, files] of [
      ['kubernetes', 'kubernetes.pem there is'],
      ['admin', 'admin.kubeconfig there is'],
      ['control0', 'control0.pem, control0.kubeconfig there are'],
    ] as const)
      test(`as ${name}: they stay, until --force is given`, async () => {
        await older(name)
        await exits(0, place, 'kubeconfigs')
        const before = homes()
        const ran = await withStatus(1, deploy())
        assert.equal(messageOf(ran, 'deploy/control0'), `control0: ${files} newer than in ${auth()}`)
        assert.match(
          String(ran.events.find(({ id, type }) => id === 'deploy/control0' && type === 'failed')?.remedy ?? ''),
          /this auth\/ is out of date[\s\S]*deploy --node control0 --force/,
        )
        assert.deepEqual(homes(), before)
        await withStatus(1, deploy('--dry-run'))
        await withStatus(0, deploy('--node', 'control0', '--force'))
        await withStatus(0, deploy('--dry-run'))
      })

    test('in the middle of a rotation that a colleague began: they stay, whichever files are there', async (t) => {
      const colleague = scratch(t)
      mkdirSync(join(colleague, 'home'))
      cpSync(auth(), auth(colleague), { recursive: true })
      writeCluster(colleague, [...oneOfEach, ...labEdits(suite.lab)])
      const next = await generatePrivateKey('ecdsa-p256')
      writeFileSync(join(auth(colleague), 'ca-next-key.pem'), privateKeyPem(next), { mode: 0o600 })
      await exits(0, colleague, 'certs', 'kubeconfigs')
      for (const name of ['control0', 'worker0'] as const)
        for (const file of readdirSync(home(name)))
          if (/\.(pem|kubeconfig)$/.test(file)) copyFileSync(join(auth(colleague), file), join(home(name), file))
      const before = homes()
      const ran = await withStatus(1, deploy())
      assert.deepEqual(idsOf(ran, 'failed'), ['deploy/control0', 'deploy/worker0'])
      for (const id of ['deploy/control0', 'deploy/worker0']) assert.match(String(messageOf(ran, id)), /newer than in/)
      assert.deepEqual(homes(), before)
      // To whom it belongs, it is right.
      await exits(0, colleague, 'deploy', '--dry-run', '--node', 'control0', '--node', 'worker0')
    })
  })

  describe('holds what ours does not', () => {
    const secret = Buffer.alloc(32, 7).toString('base64')
    const more: Readonly<Record<string, readonly [file: string, edit: (text: string) => string, said: RegExp]>> = {
      'a second encryption key': [
        config,
        (text) => text.replace(/( +)- name: key1\n.*\n/, `$&$1- name: key2\n$1  secret: ${secret}\n`),
        /another encryption key \(encryption-config\.yaml: the aescbc key key2\) than/,
      ],
      'a second entry': [
        config,
        (text) => text.replace(/ +- secrets\n/, (line) => `${line}${line.replace('secrets', 'configmaps')}`),
        /another encryption key \(encryption-config\.yaml: configmaps under aescbc\) than/,
      ],
      'a second CA': [
        'ca.pem',
        (text) => text + readFileSync(join(auth(other), 'ca.pem'), 'utf8'),
        /another CA \(ca\.pem: a certificate CN=Kubernetes until \d{4}-\d\d-\d\d\) than/,
      ],
    }
    for (const [title, [file, edit, said]] of Object.entries(more))
      test(`${title}: it stays, and the command that fetches it works`, async () => {
        const [ours, theirs] = [
          readFileSync(join(auth(), file), 'utf8'),
          edit(readFileSync(join(home(), file), 'utf8')),
        ]
        assert.notEqual(theirs, ours)
        writeFileSync(join(home(), file), theirs)
        const ran = await withStatus(3, deploy())
        const { message, remedy } =
          ran.events.find(({ id, type }) => id === 'deploy/control0' && type === 'failed') ?? {}
        assert.match(String(message), said)
        assert.ok(!ran.stdout.includes(secret))
        assert.equal(readFileSync(join(home(), file), 'utf8'), theirs)
        // What it encrypts then is for cluster.yaml to say.
        if (title === 'a second entry')
          write([
            ['encryption', 'resources'],
            ['secrets', 'configmaps'],
          ])
        const [, move = ''] = /: (mv \S+ \S+) && npm run task -- recover --node control0$/m.exec(String(remedy)) ?? []
        execFileSync('sh', ['-c', move])
        await exits(0, place, 'recover', '--node', 'control0')
        assert.equal(readFileSync(join(auth(), file), 'utf8'), theirs)
        await withStatus(0, deploy('--node', 'control0'))
        assert.equal(readFileSync(join(home(), file), 'utf8'), theirs)
      })
  })

  describe('is pruned', () => {
    test('never of a folder', async () => {
      const folder = join(home(), 'worker0.pem')
      mkdirSync(folder)
      writeFileSync(join(folder, 'thesis.txt'), 'x')
      copyFileSync(join(auth(), 'worker0.kubeconfig'), join(home(), 'worker0.kubeconfig'))
      await withStatus(0, deploy('--prune'))
      assert.deepEqual(readdirSync(folder), ['thesis.txt'])
      assert.ok(!existsSync(join(home(), 'worker0.kubeconfig')))
    })

    test('not of what has the name of a gateway: it may be its own; what the node had in another role is told', async () => {
      const files = ['worker0.pem', 'worker0-key.pem', 'worker0.kubeconfig']
      writeFileSync(join(home('gateway'), 'gateway.pem'), 'of the load balancer')
      writeNode(1, { role: 'gateway' })
      const ran = await withStatus(0, deploy('--prune'))
      assert.match(ran.stdout, /worker0 needs no certificate now; the one it had is /)
      assert.equal(readFileSync(join(home('gateway'), 'gateway.pem'), 'utf8'), 'of the load balancer')
      for (const file of files) assert.ok(existsSync(join(home('worker0'), file)))
    })

    test('not of the files of a node that shares its folder', async () => {
      writeNode(2, { host: 'control0' })
      // Both at once, into nothing.
      for (const name of readdirSync(home()).filter((each) => !each.startsWith('.'))) rmSync(join(home(), name))
      await withStatus(0, deploy())
      for (const args of [['--prune'], []]) {
        const ran = await withStatus(0, deploy(...args))
        assert.deepEqual(idsOf(ran, 'built'), [])
        assert.ok(!ran.stdout.includes('does not belong'), ran.stdout)
      }
      for (const name of ['control0.pem', 'kubernetes-key.pem']) assert.ok(existsSync(join(home(), name)), name)
    })

    test('not of the files of a node that is there under another name, which is reported', async () => {
      const stanza = readFileSync(suite.lab.sshConfig, 'utf8')
      try {
        appendFileSync(
          suite.lab.sshConfig,
          stanza.slice(0, stanza.indexOf('Host worker0')).replace('Host control0', 'Host alias'),
        )
        symlinkSync(dirname(home()), join(dirname(suite.lab.sshConfig), 'alias'))
        // Addresses that this machine has, as one that is two nodes has both.
        const nodes = oneOfEach.find(([path]) => path[0] === 'nodes')?.[1] as object[]
        write([
          ['nodes'],
          nodes.map((node, i) => ({ ...node, ip: `127.0.0.${i + 1}`, ...(i === 1 && { host: 'alias' }) })),
        ])
        await withStatus(0, deploy())
        const ran = await withStatus(0, deploy('--prune'))
        assert.deepEqual(idsOf(ran, 'built'), [])
        const warnings = ran.events.map(({ warning }) => String(warning ?? ''))
        assert.ok(
          warnings.some((text) => /^control0 holds .* it may be the same machine as worker0/.test(text)),
          ran.stdout,
        )
      } finally {
        writeFileSync(suite.lab.sshConfig, stanza)
      }
      for (const name of ['worker0.pem', 'kubernetes-key.pem']) assert.ok(existsSync(join(home(), name)), name)
    })
  })

  test('has files with the time at which they were put there', async () => {
    const before = Date.now()
    rmSync(join(home(), 'kubernetes-key.pem'))
    await withStatus(0, deploy())
    const { mtimeMs } = lstatSync(join(home(), 'kubernetes-key.pem'))
    assert.ok(mtimeMs > before - 5000 && mtimeMs < Date.now() + 5000, new Date(mtimeMs).toISOString())
  })

  describe('has the folder in which a run of another machine unpacked its archive', () => {
    const leave = (age: number) => {
      const folder = join(home(), '.harderway-ffffffffffff-0123456789abcdef')
      mkdirSync(folder, { mode: 0o700 })
      writeFileSync(join(folder, 'ca-key.pem'), readFileSync(join(auth(), 'ca-key.pem')), { mode: 0o600 })
      const time = Date.now() / 1000 - age
      utimesSync(folder, time, time)
      return folder
    }

    for (const [title, age] of Object.entries({ old: 3600, 'of a time to come': -3600 }))
      test(`that is ${title}: reported, and removed`, async () => {
        const folder = leave(age)
        const told = await exits(4, place, 'status', '--on-nodes')
        assert.match(told.stdout, /\.harderway-f\S+ left by a killed run/)
        assert.ok(existsSync(folder))
        const ran = await withStatus(0, deploy())
        assert.match(String(messageOf(ran, 'deploy/control0')), /left by a killed run/)
        assert.ok(!existsSync(folder))
      })

    test('that may be in use: reported, and left', async () => {
      const folder = leave(60)
      const told = await exits(0, place, 'status', '--on-nodes')
      assert.match(told.stdout.replace(/\s+/g, ' '), /another run is using it, or was killed/)
      const ran = await withStatus(0, deploy())
      assert.match(ran.stdout, /another run is using it, or was killed/)
      assert.ok(existsSync(folder))
    })
  })
})

/** A second link to a file, and a flag of it, are changes of its inode alone. */
function withoutChangeTime(states: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(states).map(([name, state]) => [name, state.split(' ').toSpliced(4, 1).join(' ')]),
  )
}
