/** Phase `kubeconfigs`: for each client of the API, its certificate, its key and the CA in one file. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import {
  compareKubeconfig,
  formatKubeconfig,
  type KubeconfigAccess,
  partOf,
  serverUrl,
} from '../../lib/kubernetes/kubeconfig.ts'
import type { Check } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { signingCa } from '../auth/states.ts'
import { type CertRow, certTable } from '../layouts/tables.ts'
import { authTarget, type ClusterTarget, type Run } from '../target.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  return certTable(cluster)
    .filter(({ isClient }) => isClient)
    .map((row) =>
      authTarget({
        id: `kubeconfigs/${row.name}`,
        phase: 'kubeconfigs',
        node: row.node,
        needs: [caName, row.id],
        makes: [kubeconfigFile(row.name)],
        desired: namesIn(cluster, row),
        purpose: 'its kubeconfig',
        where: 'auth',
        check: (run) => check(run, row),
        build: async (run) => {
          run.auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess(run, row)), secretMode)
          return undefined
        },
      }),
    )
}

function check(run: Run, row: CertRow): Check {
  const path = kubeconfigFile(row.name)
  // `status` looks at it even if its certificate is missing.
  const compare = (bytes: Buffer) => {
    const what = hasAccess(run, row) ? compareKubeconfig(bytes.toString(), readAccess(run, row)) : []
    // `install` splits it line by line, on the node.
    const isSplit = !run.cluster.install || partOf(bytes.toString(), 'pair', '') !== undefined
    return what?.length === 0 && !isSplit ? ['users'] : what
  }
  const { value: changed = [], diffs } = run.auth.checkFile(path, 'a valid kubeconfig', compare)
  const named = changed.map((field) => contents.get(field) ?? field)
  // A run has made its certificate by now.
  if (diffs.length === 0 && !hasAccess(run, row)) diffs.push({ what: `depends on ${row.id}` })
  if (named.length > 0) diffs.push({ what: `${formatNames(named)} changed`, verb: 'change' })
  return { diffs }
}

const contents = new Map([
  ['users', 'credentials'],
  ['clusters', 'server or CA'],
])

export function hasAccess({ auth, now }: Run, { name }: CertRow): boolean {
  const { trusted } = signingCa(auth, now)
  return [...trusted.map(auth.files.certificate), ...auth.files.pair(name)].every((file) => auth.tryBytes(file))
}

function namesIn(cluster: Cluster, { profile, dials }: CertRow) {
  return {
    cluster: cluster.name,
    server: serverUrl(dials, cluster.api.port),
    user: profile.subject.CN,
    context: 'default',
  }
}

export function readAccess({ auth, cluster, now }: Run, row: CertRow): KubeconfigAccess {
  const { name } = row
  const { trusted } = signingCa(auth, now)
  return {
    ...namesIn(cluster, row),
    ca: joinPems(trusted.map((each) => auth.bytes(auth.files.certificate(each)))),
    certificate: auth.bytes(auth.files.certificate(name)),
    key: auth.bytes(auth.files.key(name)),
  }
}

/** A single one stays as it is, byte for byte. */
function joinPems([first = Buffer.alloc(0), ...others]: readonly Buffer[]): Buffer {
  if (others.length === 0) return first
  return Buffer.from([first, ...others].map((pem) => pem.toString().replace(/\n*$/, '\n')).join(''))
}
