/** Where runs are killed and ended: three real nodes, a kubeconfig that others use too, and states to begin from. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Lab, type LabNodeOptions, startLab } from '../lab/lab.ts'
import { type Edit, harderway, labEdits, makePlace, writeCluster } from './harderway.ts'

/** Each of these stays as it is, whatever is added around it: as the YAML library writes it. */
export const foreignParts = [
  '# kept by hand: do not sort\n',
  `- cluster:
    server: https://10.9.8.7:6443 # the old one
    certificate-authority-data: Zm9yZWlnbg==
  name: elsewhere
`,
  `- name: somebody
  user:
    token: "a token: not ours"
`,
  `- { name: elsewhere, context: { cluster: elsewhere, user: somebody, namespace: theirs } }
`,
]
const [comment, cluster, user, context] = foreignParts
export const foreignKubeconfig = `apiVersion: v1
kind: Config
${comment}clusters:
${cluster}users:
${user}contexts:
${context}current-context: elsewhere
preferences: {}
`

const roles = { control0: 'control', worker0: 'worker', gateway: 'gateway' }
const change: readonly Edit[] = [
  [['api', 'extraSANs'], ['192.168.1.22']],
  [
    ['encryption', 'resources'],
    ['secrets', 'configmaps'],
  ],
]

/** `empty`: nothing was ever made. `changed`: all was made, and cluster.yaml asks for more since then. */
export type State = 'empty' | 'changed'
export const states: readonly State[] = ['empty', 'changed']

/** What the run does that is stopped; the next is a plain bootstrap. */
export const stoppedCommand: Readonly<Record<State, readonly string[]>> = {
  empty: ['bootstrap', '--json'],
  changed: ['bootstrap', '--force', '--json'],
}

export interface ThreeNodes extends AsyncDisposable {
  readonly path: string
  readonly auth: string
  readonly kubeconfig: string
  readonly lab: Lab
  /** The auth/ that the state begins with. */
  oldAuth(state: State): string | undefined
  reset(state: State): void
}

/** One of the nodes may have something special. */
export async function makeThreeNodes(
  special: (place: string) => LabNodeOptions = () => ({ name: 'gateway' }),
): Promise<ThreeNodes> {
  const path = makePlace()
  const one = special(path)
  const options = Object.keys(roles).map((name) => (name === one.name ? one : { name }))
  const lab = await startLab({ dir: join(path, 'lab'), nodes: options })
  const nodes = Object.entries(roles).map(([name, role], i) => ({ name, role, ip: `192.168.1.${11 + i}` }))
  const edits: Edit[] = [...labEdits(lab), [['certificates', 'key'], 'ecdsa-p256'], [['nodes'], nodes]]
  const auth = join(path, 'auth')
  const kube = join(path, 'home/.kube')
  const made = join(path, 'made')
  const folders = [auth, kube, ...lab.nodes.map(({ home }) => home)]
  const keptAs = (folder: string) => join(made, folder.slice(path.length + 1).replaceAll('/', '-'))
  const clear = () => {
    for (const folder of [auth, kube]) rmSync(folder, { recursive: true, force: true })
    for (const { home } of lab.nodes)
      for (const name of readdirSync(home).filter((each) => !shellFiles.includes(each)))
        rmSync(join(home, name), { recursive: true })
  }
  const reset = (state: State) => {
    clear()
    writeCluster(path, state === 'empty' ? edits : [...edits, ...change])
    if (state === 'changed')
      for (const folder of folders) cpSync(keptAs(folder), folder, { recursive: true, preserveTimestamps: true })
    else {
      mkdirSync(kube)
      writeFileSync(join(kube, 'config'), foreignKubeconfig, { mode: 0o600 })
    }
  }
  reset('empty')
  const first = await harderway(path, 'bootstrap')
  assert.equal(first.status, 0, first.stdout + first.stderr)
  for (const folder of folders) cpSync(folder, keptAs(folder), { recursive: true, preserveTimestamps: true })
  assert.ok(existsSync(join(keptAs(auth), 'ca.pem')))
  return {
    path,
    auth,
    kubeconfig: join(kube, 'config'),
    lab,
    oldAuth: (state) => (state === 'changed' ? keptAs(auth) : undefined),
    reset,
    [Symbol.asyncDispose]: async () => {
      await lab.stop()
      rmSync(path, { recursive: true, force: true })
    },
  }
}

/** The lab's own, in each home. */
export const shellFiles = ['.bashrc', '.zshenv']
