/**
 * What a follower of Kubernetes The Hard Way has on the jumpbox: the openssl and kubectl commands of its documents 04,
 * 05 and 06, with a ca.conf of the same content.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command } from './genauth.ts'

export interface Follower {
  /** Of RSA; the guide has 4096. */
  readonly bits?: number
  readonly days?: number
  readonly workers?: readonly string[]
  /** C, ST and L of the ca.conf. */
  readonly place?: Readonly<Record<string, string>>
  /** Names of the API besides the guide's. */
  readonly apiNames?: readonly string[]
}

interface Section {
  readonly subject: Readonly<Record<string, string>>
  readonly usage?: 'clientAuth' | 'clientAuth, serverAuth'
  readonly sans?: readonly string[]
  /** nsCertType, which OpenSSL heeds and Go does not. */
  readonly netscape?: string
}

const seattle = { C: 'US', ST: 'Washington', L: 'Seattle' }
const both = 'clientAuth, serverAuth'
const local = (name: string) => [`DNS:${name}`, 'IP:127.0.0.1']
const server = 'server.kubernetes.local'

function sections({ workers = ['node-0', 'node-1'], place = seattle, apiNames = [] }: Follower): Map<string, Section> {
  const component = (name: string, O: string): [string, Section] => [
    name,
    { subject: { CN: `system:${name}`, O, ...place }, usage: both, sans: local(name) },
  ]
  const names = [
    ...['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster'],
    ...['kubernetes.svc.cluster.local', server, 'api-server.kubernetes.local', ...apiNames],
  ]
  return new Map<string, Section>([
    ['admin', { subject: { CN: 'admin', O: 'system:masters' } }],
    ...workers.map((name): [string, Section] => [
      name,
      { subject: { CN: `system:node:${name}`, O: 'system:nodes', ...place }, usage: both, sans: local(name) },
    ]),
    component('kube-proxy', 'system:node-proxier'),
    component('kube-scheduler', 'system:system:kube-scheduler'),
    component('kube-controller-manager', 'system:kube-controller-manager'),
    [
      'kube-api-server',
      {
        subject: { CN: 'kubernetes', ...place },
        usage: both,
        netscape: 'client, server',
        sans: ['IP:127.0.0.1', 'IP:10.32.0.1', ...names.map((name) => `DNS:${name}`)],
      },
    ],
    ['service-accounts', { subject: { CN: 'service-accounts' } }],
  ])
}

function formatConfig(all: ReadonlyMap<string, Section>, { place = seattle }: Follower): string {
  const lines = (values: Readonly<Record<string, string>>) =>
    Object.entries(values).map(([key, value]) => `${key} = ${value}`)
  const blocks = [...all].flatMap(([name, { subject, usage = 'clientAuth', sans = [], netscape = 'client' }]) => [
    ...[`[${name}]`, `distinguished_name = ${name}_name`, 'prompt = no', `req_extensions = ${name}_extensions`],
    ...[`[${name}_name]`, ...lines(subject)],
    ...[`[${name}_extensions]`, 'basicConstraints = CA:FALSE', `extendedKeyUsage = ${usage}`],
    ...['keyUsage = critical, digitalSignature, keyEncipherment', `nsCertType = ${netscape}`, `nsComment = "${name}"`],
    ...[...(sans.length > 0 ? [`subjectAltName = ${sans.join(', ')}`] : []), 'subjectKeyIdentifier = hash'],
  ])
  return [
    ...['[req]', 'distinguished_name = req_name', 'prompt = no', 'x509_extensions = ca_extensions'],
    ...['[ca_extensions]', 'basicConstraints = CA:TRUE', 'keyUsage = cRLSign, keyCertSign'],
    ...['[req_name]', ...lines({ ...place, CN: 'CA' }), ...blocks, ''],
  ].join('\n')
}

/** Makes the folder, with everything in it that the documents leave there. */
export async function followHardWay(folder: string, follower: Follower = {}): Promise<void> {
  const { bits = 4096, days = 3653, workers = ['node-0', 'node-1'] } = follower
  mkdirSync(folder)
  const run = (program: string, ...args: string[]) => command({ cwd: folder }, program, ...args)
  const all = sections(follower)
  writeFileSync(join(folder, 'ca.conf'), formatConfig(all, follower))
  const newKey = (name: string) => run('openssl', 'genrsa', '-out', `${name}.key`, String(bits))
  await newKey('ca')
  const self = ['-x509', '-new', '-sha512', '-noenc', '-key', 'ca.key', '-days', String(days), '-config', 'ca.conf']
  await run('openssl', 'req', ...self, '-out', 'ca.crt')
  for (const name of all.keys()) {
    await newKey(name)
    const request = ['-new', '-key', `${name}.key`, '-sha256', '-config', 'ca.conf', '-section', name]
    await run('openssl', 'req', ...request, '-out', `${name}.csr`)
    const signing = ['-copy_extensions', 'copyall', '-sha256', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial']
    const out = ['-days', String(days), '-in', `${name}.csr`, '-out', `${name}.crt`]
    await run('openssl', 'x509', '-req', ...signing, ...out)
  }
  const own = ['kube-proxy', 'kube-controller-manager', 'kube-scheduler', 'admin']
  for (const name of [...workers, ...own]) {
    const config = (...args: string[]) => run('kubectl', 'config', ...args, `--kubeconfig=${name}.kubeconfig`)
    const user = all.get(name)?.subject.CN ?? ''
    const url = `https://${name === 'admin' ? '127.0.0.1' : server}:6443`
    const cluster = 'kubernetes-the-hard-way'
    await config('set-cluster', cluster, '--certificate-authority=ca.crt', '--embed-certs=true', `--server=${url}`)
    const pair = [`--client-certificate=${name}.crt`, `--client-key=${name}.key`]
    await config('set-credentials', user, ...pair, '--embed-certs=true')
    await config('set-context', 'default', `--cluster=${cluster}`, `--user=${user}`)
    await config('use-context', 'default')
  }
  const encryption = `kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
  - resources:
      - secrets
    providers:
      - aescbc:
          keys:
            - name: key1
              secret: ${randomBytes(32).toString('base64')}
      - identity: {}
`
  writeFileSync(join(folder, 'encryption-config.yaml'), encryption)
}
