import assert from 'node:assert/strict'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { authBeside, type CommandRun } from '../../../tasks/run/command-run.ts'
import { scratch } from '../../support/files.ts'

test('auth/ that is a link to nothing may be on a disk that is not mounted: nothing is done, and no command is offered', (t) => {
  const place = scratch(t)
  const cluster = { name: 'kubenet', layout: 'harder-way', etcd: { ca: 'shared' }, nodes: [{}], ssh: {} }
  symlinkSync(join(place, 'disk'), join(place, 'auth'))
  assert.throws(() => authBeside({ cluster, file: join(place, 'cluster.yaml') } as unknown as CommandRun), {
    kind: 'failed',
    message: /which does not exist; is its disk mounted\?$/,
    remedy: undefined,
  })
})
