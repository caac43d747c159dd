import assert from 'node:assert/strict'
import { test } from 'node:test'
import { completeInstall } from '../../../../lib/cluster/cluster.ts'
import { encryptionConfigFile, kubeconfigFile } from '../../../../lib/files/auth-dir.ts'
import { newEncryptionConfig } from '../../../../lib/kubernetes/encryption.ts'
import { formatKubeconfig } from '../../../../lib/kubernetes/kubeconfig.ts'
import type { PlacesState } from '../../../../lib/node/state.ts'
import { formatFinding } from '../../../../lib/results.ts'
import { checkUnits } from '../../../../tasks/day2/install/install-node.ts'
import type { UnitsFound } from '../../../../tasks/day2/install/look-at-units.ts'
import type { DeployFound } from '../../../../tasks/deploy/deploy-node.ts'
import { certTable, nodeUnits } from '../../../../tasks/layouts/tables.ts'
import { readAccess } from '../../../../tasks/phases/kubeconfigs.ts'
import type { Run } from '../../../../tasks/target.ts'
import { makeEverything, temporaryAuth } from '../../../support/certificates.ts'
import {
  control,
  threeNodes as everywhere,
  folderWith,
  foundAsIn,
  healthyUnit,
  rootsFile,
  seenIn,
  startedAs,
} from '../../../support/fakes.ts'
import { sha256 } from '../../../support/files.ts'

test('a key that no node is to have is left to do: with the command where nothing reads it and auth/ has it, else without', async (t) => {
  const auth = temporaryAuth(t)
  const path = '/var/lib/kubernetes/ca-key.pem'
  await makeEverything(auth, everywhere, new Date())
  auth.write(encryptionConfigFile, newEncryptionConfig('aescbc', ['secrets']), 0o600)
  const made = { auth, cluster: everywhere } as Run
  for (const row of certTable(everywhere).filter(({ isClient }) => isClient))
    auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess(made, row)), 0o600)
  const told = async (digest: string) => {
    const certificates = { ...everywhere.certificates, caKeyOnNodes: false }
    const cluster = { ...everywhere, certificates, install: completeInstall({}, 'root') }
    const run = { ...{ auth, cluster, now: new Date(), command: String }, options: { names: [] } } as unknown as Run
    const found = foundAsIn(run, control)
    const units = nodeUnits(cluster, control).map((unit) => {
      const [program = '', ...flags] = startedAs(unit).command
      return [unit.unit, { ...healthyUnit, start: [program, ...flags].join(' ') }] as const
    })
    const places: PlacesState = {
      ...found.places,
      units: new Map(units),
      files: new Map([...found.places.files, [path, { ...rootsFile, sha256: digest }]]),
    }
    const seen = seenIn(cluster, control, { ...folderWith({ now: 0 }), places })
    const before = { units: { ...found, ...seen, places, selfMade: undefined } } as unknown as DeployFound<UnitsFound>
    const { findings = [], reasons } = await checkUnits({ run, node: control }, { force: undefined, before })
    assert.deepEqual(reasons, [])
    return findings.flatMap((each) => (each.left ? [[each.owner, formatFinding(each)]] : []))
  }
  const digest = sha256(auth.bytes('ca-key.pem'))
  const text = `on c0, remove ${path}, which cluster.yaml has on no node`
  assert.deepEqual(await told(digest), [['user', text]])
  const onlyOne = `${text}, once you have a copy of it: auth/ has none`
  assert.deepEqual(await told(sha256('another')), [['user', onlyOne]])
})
