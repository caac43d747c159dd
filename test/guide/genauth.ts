/**
 * The guide's genauth.sh, genenckey.sh, deployauth.sh and setuplocalkubeconfig.sh: cfssl, cfssljson, kubectl, base64
 * and scp, a step after the other as the scripts do, and with the processes that they start. What is measured is `node
 * test/guide/genauth.ts FOLDER`, where FOLDER is new.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
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

/** Its stdout; throws with what it said on stderr. The home is not the user's. */
export async function command(
  { cwd, home = cwd }: { readonly cwd: string; readonly home?: string },
  program: string,
  ...args: readonly string[]
): Promise<string> {
  const env = { PATH: process.env.PATH, HOME: home }
  return (await promisify(execFile)(program, args, { cwd, env })).stdout
}

/** Makes the folder, with everything in it that the chapter's scripts leave there. */
export async function genauth(
  auth: string,
  { nodes = guideNodes(), key = rsa }: { readonly nodes?: readonly GuideNode[]; readonly key?: RequestedKey } = {},
): Promise<void> {
  mkdirSync(auth)
  writeJson(auth, 'ca-config', signingConfig)
  writeJson(auth, 'ca-csr', caRequest(key))
  await pipe(auth, 'ca', '-initca', 'ca-csr.json')
  for (const [name, request] of requests(nodes, key)) await gencert(auth, name, request)
  await genkubeconfigs(auth, nodes)
  await genenckey(auth)
}

/** Signs with whatever CA is there, by the ca-config.json that is there. */
export async function gencert(auth: string, name: string, request: Request): Promise<void> {
  writeJson(auth, `${name}-csr`, request)
  const issuer = ['-ca=ca.pem', '-ca-key=ca-key.pem', '-config=ca-config.json', '-profile=kubernetes']
  await pipe(auth, name, ...issuer, `${name}-csr.json`)
}

/** Of the certificates in auth/, beside them. */
async function genkubeconfigs(auth: string, nodes: readonly GuideNode[]): Promise<void> {
  const users = [...Object.entries(components), ...nodes.map((node) => [node.name, userOf(node)] as const)]
  for (const [name, user] of users) await genkubeconfig(auth, name, user, join(auth, `${name}.kubeconfig`))
}

async function genkubeconfig(auth: string, name: string, user: string, file: string): Promise<void> {
  const config = (...args: string[]) => command({ cwd: auth }, 'kubectl', 'config', ...args, `--kubeconfig=${file}`)
  await config('set-cluster', 'kubenet', ...clusterOptions)
  await config('set-credentials', user, ...credentialOptions(name))
  await config('set-context', 'default', '--cluster=kubenet', `--user=${user}`)
  await config('use-context', 'default')
}

/** Of kubectl's set-cluster and set-credentials, run in auth/. */
const embed = '--embed-certs=true'
const clusterOptions = ['--certificate-authority=ca.pem', embed, '--server=https://kubernetes:6443']
const credentialOptions = (name: string) => [`--client-certificate=${name}.pem`, `--client-key=${name}-key.pem`, embed]

/** Into the kubeconfig of that home. */
export async function setuplocalkubeconfig(auth: string, home: string): Promise<void> {
  const config = (...args: string[]) => command({ cwd: auth, home }, 'kubectl', 'config', ...args)
  await config('set-cluster', 'kubenet', ...clusterOptions)
  await config('set-credentials', 'admin', ...credentialOptions('admin'))
  await config('set-context', 'kubenet', '--cluster=kubenet', '--user=admin')
  await config('use-context', 'kubenet')
}

/** As genenckey.sh writes it. */
export const encryptionConfig = (secret: string) => `kind: EncryptionConfig
apiVersion: v1
resources:
- resources:
  - secrets
  providers:
  - aescbc:
      keys:
      - name: key1
        secret: ${secret}
  - identity: {}
`

/** A new key at each run. */
async function genenckey(auth: string): Promise<void> {
  const secret = await command({ cwd: auth }, 'sh', '-c', 'head -c 32 /dev/urandom | base64')
  writeFileSync(join(auth, 'encryption-config.yaml'), encryptionConfig(secret.trim()))
}

const controlFiles = [
  ...['ca.pem', 'ca-key.pem', 'kubernetes-key.pem', 'kubernetes.pem', 'service-account-key.pem', 'service-account.pem'],
  ...['admin.kubeconfig', 'kube-controller-manager.kubeconfig', 'kube-scheduler.kubeconfig', 'encryption-config.yaml'],
]

/** With the sshConfig of `scp -F`. */
export async function deployauth(
  auth: string,
  nodes: readonly GuideNode[],
  { sshConfig, user }: { readonly sshConfig: string; readonly user: string },
): Promise<void> {
  for (const { name, role } of nodes) {
    const own = [`${name}.pem`, `${name}-key.pem`, `${name}.kubeconfig`, 'kube-proxy.kubeconfig']
    const files = role === 'control' ? [...controlFiles, ...own] : ['ca.pem', ...own]
    await command({ cwd: auth }, 'scp', '-F', sshConfig, ...files, `${user}@${name}:~`)
  }
}

export function writeJson(auth: string, name: string, value: unknown): void {
  writeFileSync(join(auth, `${name}.json`), `${JSON.stringify(value, null, 2)}\n`)
}

async function pipe(cwd: string, name: string, ...args: readonly string[]): Promise<void> {
  await command({ cwd }, 'sh', '-c', 'cfssl gencert "$@" | cfssljson -bare "$0"', name, ...args)
}

if (import.meta.main) await genauth(process.argv[2] ?? '')
