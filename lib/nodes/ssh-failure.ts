/** From what ssh and scp print to what happened and what to do: one line a node. */
import { Failure, type SshPlace } from '../failure.ts'

export interface SshResult {
  readonly node: string
  readonly place: SshPlace
  readonly stderr: string
  readonly exitCode: number
  readonly timedOut: boolean
}

interface Cause {
  /** The cause's name; with hyphens it is the word for scripts. */
  readonly name: string
  readonly pattern: RegExp
  /** For all the places that have it. */
  readonly remedy: (places: readonly SshPlace[]) => string
}

/** The first that fits. */
const causes: readonly Cause[] = [
  {
    name: 'host key changed',
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    remedy: (places) =>
      `if the machine was set up anew, compare its fingerprint (on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then:\n${places.map(({ host, port }) => `ssh-keygen -R ${port === undefined ? host : `'[${host}]:${port}'`}`).join('\n')}\nif it was not, somebody else answers under its name`,
  },
  {
    name: 'host key unknown',
    pattern: /Host key verification failed|host key is known for/,
    remedy: (places) =>
      [
        ...[...Map.groupBy(places, ({ port }) => port)].map(
          ([port, some]) =>
            `ssh-keyscan ${port === undefined ? '' : `-p ${port} `}${some.map(({ host }) => host).join(' ')} | tee -a ~/.ssh/known_hosts | ssh-keygen -lf -`,
        ),
        'and compare each fingerprint with what the machine says of itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub',
        'or choose to trust a machine the first time it is met: ssh.options: {StrictHostKeyChecking: accept-new} in cluster.yaml',
      ].join('\n'),
  },
  {
    name: 'authentication refused',
    pattern: /Permission denied \(|Too many authentication failures|no mutual signature|incorrect passphrase/,
    remedy: ([place]) =>
      `see that this works without a question: ssh -o BatchMode=yes ${place?.port === undefined ? '' : `-p ${place.port} `}${place?.user}@${place?.host} true (a key with a passphrase belongs into ssh-agent: ssh-add)`,
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

export function sshFailure({ node, place, stderr, exitCode, timedOut }: SshResult): Failure {
  // A connection that was closed before anybody had logged in is ended by ssh without a word.
  const text = exitCode === 255 && stderr.trim() === '' ? 'Connection closed' : stderr
  const cause = causes.find(({ name, pattern }) => (timedOut ? name === 'timed out' : pattern.test(text)))
  const said = lastLine(text)
  if (!cause) return new Failure(`${node}: ${said || `ssh ended with status ${exitCode}`}`, { code: 'other' })
  return new Failure(`${node}: ${cause.name}${said && !timedOut ? ` (${said})` : ''}`, {
    code: cause.name.replaceAll(' ', '-'),
    remedy: cause.remedy([place]),
    shared: { what: cause.name, who: node, place, remedyFor: cause.remedy },
  })
}

/** Short, on one line, and without a word so long that it could be a key. */
function lastLine(text: string): string {
  const line = text.trim().split(/\r?\n/).at(-1) ?? ''
  return line.replace(/[A-Za-z0-9+/=_-]{40,}/g, '…').slice(0, 160)
}
