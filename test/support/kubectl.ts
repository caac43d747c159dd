/** The real kubectl, for what is to be as kubectl does it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KubeconfigAccess } from '../../lib/kubernetes/kubeconfig.ts'

/** Its stdout; neither the user's home nor his kubeconfig are touched. */
export function kubectl(home: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  return execFileSync('kubectl', args, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** The guide's four commands; to the file given, else by kubectl's own rule. */
export function kubectlConfig(
  home: string,
  access: KubeconfigAccess,
  { file, list }: { file?: string; list?: string } = {},
): void {
  const pems = join(home, 'pems')
  mkdirSync(pems, { recursive: true })
  const pem = (name: string, bytes: Buffer) => {
    writeFileSync(join(pems, name), bytes)
    return join(pems, name)
  }
  const { cluster, server, user, context, ca, certificate, key } = access
  const commands = [
    ['set-cluster', cluster, `--certificate-authority=${pem('ca', ca)}`, '--embed-certs=true', `--server=${server}`],
    [
      ...['set-credentials', user, `--client-certificate=${pem('certificate', certificate)}`],
      ...[`--client-key=${pem('key', key)}`, '--embed-certs=true'],
    ],
    ['set-context', context, `--cluster=${cluster}`, `--user=${user}`],
    ['use-context', context],
  ]
  for (const command of commands)
    kubectl(
      home,
      ['config', ...command, ...(file === undefined ? [] : [`--kubeconfig=${file}`])],
      list === undefined ? {} : { KUBECONFIG: list },
    )
}
