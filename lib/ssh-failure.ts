/** From what ssh and scp print to what happened and what to do: one line a node. */
import { Failure } from './failure.ts'

export interface SshResult {
  readonly node: string
  readonly host: string
  readonly stderr: string
  readonly exitCode: number
  readonly timedOut: boolean
}

interface Cause {
  /** The cause's name; with hyphens it is the word for scripts. */
  readonly name: string
  readonly pattern: RegExp
  /** For all the hosts that have it, separated by spaces. */
  readonly remedy: (hosts: string) => string
}

/** The first that fits. */
const causes: readonly Cause[] = [
  {
    name: 'host key changed',
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    remedy: (hosts) =>
      `if the machine was set up anew, compare its fingerprint (on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: ssh-keygen -R ${hosts}; if it was not, somebody else answers under its name`,
  },
  {
    name: 'host key unknown',
    pattern: /Host key verification failed|host key is known for/,
    remedy: (hosts) =>
      `ssh-keyscan ${hosts} | tee -a ~/.ssh/known_hosts | ssh-keygen -lf -\nand compare each fingerprint with what the machine says of itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\nor choose to trust a machine the first time it is met: ssh.options: {StrictHostKeyChecking: accept-new} in cluster.yaml`,
  },
  {
    name: 'authentication refused',
    pattern: /Permission denied \(|Too many authentication failures|no mutual signature|incorrect passphrase/,
    remedy: (hosts) =>
      `see that this works without a question: ssh -o BatchMode=yes USER@${hosts} true, with ssh.user of cluster.yaml for USER (a key with a passphrase belongs into ssh-agent: ssh-add)`,
  },
  {
    name: 'name unknown',
    pattern: /Could not resolve hostname/,
    remedy: () => 'add it to DNS or /etc/hosts, or give the node a host in cluster.yaml',
  },
  {
    name: 'connection refused',
    pattern: /Connection refused/,
    remedy: () => 'see that sshd runs there, and on which port; then run the same command again',
  },
  {
    name: 'timed out',
    pattern: /timed out|No route to host|Network is unreachable|Host is down|not responding/i,
    remedy: () => 'see that the machine is up and reachable; then run the same command again',
  },
  {
    name: 'no space',
    pattern: /No space left|Disk quota exceeded/i,
    remedy: () => 'make room there; then run the same command again',
  },
  {
    name: 'read-only',
    pattern: /Read-only file system/i,
    remedy: () => 'see why the file system is read-only; then run the same command again',
  },
  {
    name: 'no sftp',
    pattern: /subsystem request failed|sftp-server: (not found|No such file)/i,
    remedy: () => 'scp needs the line "Subsystem sftp internal-sftp" in /etc/ssh/sshd_config there',
  },
  {
    name: 'connection lost',
    pattern:
      /kex_exchange_identification|Connection (reset|closed|to .* closed)|Broken pipe|lost connection|client_loop|mux_client|banner exchange/i,
    remedy: () => 'run the same command again',
  },
]

export function sshFailure(result: SshResult): Failure {
  const { node, host, stderr, exitCode, timedOut } = result
  const cause = causes.find(({ name, pattern }) => (timedOut ? name === 'timed out' : pattern.test(stderr)))
  const said = lastLine(stderr)
  if (!cause) return new Failure(`${node}: ${said || `ssh ended with status ${exitCode}`}`, { cause: 'other' })
  return new Failure(`${node}: ${cause.name}${said && !timedOut ? ` (${said})` : ''}`, {
    cause: cause.name.replaceAll(' ', '-'),
    remedy: cause.remedy(host),
    shared: { what: cause.name, who: node, host, remedyFor: cause.remedy },
  })
}

/** Short, on one line, and without a word so long that it could be a key. */
function lastLine(text: string): string {
  const line = text.trim().split(/\r?\n/).at(-1) ?? ''
  return line.replace(/[A-Za-z0-9+/=_-]{40,}/g, '…').slice(0, 160)
}
