/**
 * The guide's genauth.sh and genenckey.sh: what makes an auth/ by cfssl, cfssljson, kubectl and base64, a step after the
 * other as the scripts do, and with the processes that they start. A measurement of it is one of them:
 * `node test/guide/genauth.ts FOLDER [NODES] [rsa|ecdsa]`, where FOLDER is new.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command } from './command.ts'
import {
  caRequest,
  components,
  type GuideNode,
  guideNodes,
  type Request,
  type RequestedKey,
  requests,
  rsa,
  signingConfig,
  userOf,
} from './requests.ts'

export const ecdsa: RequestedKey = { algo: 'ecdsa', size: 256 }

export interface Genauth {
  readonly nodes?: readonly GuideNode[]
  readonly key?: RequestedKey
}

/** Makes the folder, with everything in it that the chapter's scripts leave there. */
export async function genauth(auth: string, { nodes = guideNodes(), key = rsa }: Genauth = {}): Promise<void> {
  mkdirSync(auth)
  writeJson(auth, 'ca-config', signingConfig)
  await initCa(auth, key)
  for (const [name, request] of requests(nodes, key)) await gencert(auth, name, request)
  await genkubeconfigs(auth, nodes)
  await genenckey(auth)
}

/** A CA, whether or not there is one: as each run of the script makes. */
export async function initCa(auth: string, key: RequestedKey = rsa): Promise<void> {
  writeJson(auth, 'ca-csr', caRequest(key))
  await pipe(auth, 'ca', '-initca', 'ca-csr.json')
}

/** Signs with whatever CA is there, by the ca-config.json that is there. */
export async function gencert(auth: string, name: string, request: Request): Promise<void> {
  writeJson(auth, `${name}-csr`, request)
  const issuer = ['-ca=ca.pem', '-ca-key=ca-key.pem', '-config=ca-config.json', '-profile=kubernetes']
  await pipe(auth, name, ...issuer, `${name}-csr.json`)
}

/** Of the certificates in auth/; written beside them unless another folder is named. */
export async function genkubeconfigs(auth: string, nodes: readonly GuideNode[], into = auth): Promise<void> {
  const users = [...Object.entries(components), ...nodes.map((node) => [node.name, userOf(node)] as const)]
  for (const [name, user] of users) await genkubeconfig(auth, name, user, join(into, `${name}.kubeconfig`))
}

async function genkubeconfig(auth: string, name: string, user: string, file: string): Promise<void> {
  const config = (...args: string[]) => command({ cwd: auth }, 'kubectl', 'config', ...args, `--kubeconfig=${file}`)
  await config('set-cluster', 'kubenet', ...clusterOptions)
  await config('set-credentials', user, ...credentialOptions(name))
  await config('set-context', 'default', '--cluster=kubenet', `--user=${user}`)
  await config('use-context', 'default')
}

/** Of kubectl's set-cluster and set-credentials, run in auth/. */
export const clusterOptions = [
  '--certificate-authority=ca.pem',
  '--embed-certs=true',
  '--server=https://kubernetes:6443',
]
export const credentialOptions = (name: string): string[] => [
  `--client-certificate=${name}.pem`,
  `--client-key=${name}-key.pem`,
  '--embed-certs=true',
]

/** A new key at each run. */
export async function genenckey(auth: string): Promise<void> {
  const secret = await command({ cwd: auth }, 'sh', '-c', 'head -c 32 /dev/urandom | base64')
  const lines = [
    'kind: EncryptionConfig',
    'apiVersion: v1',
    'resources:',
    '- resources:',
    '  - secrets',
    '  providers:',
    '  - aescbc:',
    '      keys:',
    '      - name: key1',
    `        secret: ${secret.trim()}`,
    '  - identity: {}',
    '',
  ]
  writeFileSync(join(auth, 'encryption-config.yaml'), lines.join('\n'))
}

export function writeJson(auth: string, name: string, value: unknown): void {
  writeFileSync(join(auth, `${name}.json`), `${JSON.stringify(value, null, 2)}\n`)
}

async function pipe(cwd: string, name: string, ...args: readonly string[]): Promise<void> {
  await command({ cwd }, 'sh', '-c', 'cfssl gencert "$@" | cfssljson -bare "$0"', name, ...args)
}

if (import.meta.main) {
  const [folder, count = '6', algo = 'rsa'] = process.argv.slice(2)
  if (folder === undefined) throw new Error('genauth.ts FOLDER [NODES] [rsa|ecdsa]')
  await genauth(folder, { nodes: guideNodes(Number(count)), key: algo === 'rsa' ? rsa : ecdsa })
}
