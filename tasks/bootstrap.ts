/** The phases in the guide's order: what each makes, and the file of its targets; and how listr2 runs them. */
import type { ListrRendererFactory, ListrTask } from 'listr2'
import type { Walk } from '../lib/graph/executor.ts'
import type { Target } from '../lib/graph/target.ts'
import type { Phases } from '../lib/show/rows.ts'
import type { ClusterRows, ClusterTarget, Phase, PhaseFile } from './cluster-target.ts'
import type { LookBeside } from './deploy/folder.ts'

// biome-ignore format: a table of contents, two lines a row
export const phases: readonly Phase[] = [
  { name: 'ca', title: 'Certificate authority', targets: () => import('./phases/ca.ts'),
    makes: 'the CA certificate and its key' },
  { name: 'cluster-cert', title: 'Cluster certificate', targets: () => import('./phases/certs.ts'),
    makes: "the API server's certificate and key" },
  { name: 'component-certs', title: 'Component certificates', targets: () => import('./phases/certs.ts'),
    makes: 'certificates of the admin and the components, and the service-account key' },
  { name: 'node-certs', title: 'Node certificates', targets: () => import('./phases/certs.ts'),
    makes: "a certificate for each node's kubelet, as server and as client" },
  { name: 'user-certs', title: 'User certificates', targets: () => import('./phases/certs.ts'),
    makes: 'a certificate for each user in cluster.yaml, with its groups' },
  { name: 'kubeconfigs', title: 'Kubeconfigs', targets: () => import('./phases/kubeconfigs.ts'),
    makes: '<client>.kubeconfig: the admin, components, each node and user' },
  { name: 'encryption-key', title: 'Encryption key', targets: () => import('./phases/encryption-key.ts'),
    makes: 'encryption-config.yaml' },
  { name: 'revoked', title: 'Revoked', targets: ({ revoked }) => revoked && import('./revoked/revoked.ts'),
    makes: 'authorization-config.yaml: the revoked names; if cluster.yaml has revoked' },
  { name: 'deploy', title: 'Deploy to nodes', targets: deployTargets,
    makes: "each role's files on each node, by ssh and scp" },
  { name: 'install', title: 'Install on nodes', targets: ({ install }) => install && import('./install/install.ts'),
    makes: 'the same files where units read them, loaded; if cluster.yaml has install' },
  { name: 'local-kubeconfig', title: 'Local kubeconfig', targets: () => import('./phases/kubeconfigs.ts'),
    makes: "the admin's entry in your own kubeconfig" },
]

/** Deploy knows nothing of install: what is looked at beside a node's directory is given to it. */
async function deployTargets(): Promise<PhaseFile> {
  const { targets } = await import('./deploy/folder.ts')
  const lookBeside: LookBeside = async (...asked) => (await import('./install/places.ts')).lookBeside(...asked)
  return { targets: (cluster, { earlier }) => targets(cluster, { earlier, lookBeside }) }
}

export const groups: Readonly<Record<string, readonly string[]>> = {
  bootstrap: phases.map(({ name }) => name),
  certs: ['ca', 'cluster-cert', 'component-certs', 'node-certs', 'user-certs'],
}

export function isPhase(word: string): boolean {
  return Object.hasOwn(groups, word) || phases.some(({ name }) => name === word)
}

export const phaseTitles: ReadonlyMap<string, string> = new Map(phases.map(({ name, title }) => [name, title]))

const sideBySide = { concurrent: true, exitOnError: false } as const

/** Each phase is a task of listr2, and with a renderer so is each target, which waits for what it needs (lib/graph/executor.ts). */
export async function runPhases(
  phases: Phases,
  walk: Walk<ClusterTarget>,
  renderer?: ListrRendererFactory,
): Promise<ClusterRows> {
  const { Listr } = await import('listr2')
  const run = async (targets: readonly Target[], task: { skip(): void }) => {
    const rows = await Promise.all(targets.map(({ id }) => walk.start(id)))
    for (const { failure } of rows) if (failure) throw failure
    if (rows.every(({ state }) => state === 'fresh' || state === 'skipped')) task.skip()
  }
  const taskOf = (target: Target): ListrTask => ({ title: target.id, task: (_, task) => run([target], task) })
  const tasks = [...phases].map(
    ([title, targets]): ListrTask => ({
      title,
      // Thousands of tasks cost listr2 seconds, so a target has its own only where it is drawn.
      task: (_, task) => (renderer ? task.newListr(targets.map(taskOf), sideBySide) : run(targets, task)),
    }),
  )
  await new Listr(tasks, { exitOnError: false, renderer: renderer ?? 'silent', registerSignalListeners: false }).run()
  return walk.rows()
}
