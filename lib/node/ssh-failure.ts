/** Turns the output of ssh and scp into what happened and what to do: one line per node. */
import { resolve } from 'node:path'
import { Failure, runAgain } from '../failure.ts'
import { excerpt, quote } from '../wording.ts'
import type { SshHost } from './route.ts'

export interface SshResult {
  readonly node: string
  readonly host: SshHost
  /** Whose exit status and stderr these are: ssh's own, or those of a program on the node. */
  readonly by: 'ssh' | 'node'
  readonly stderr: string
  /** Where ssh ran: paths in what it prints are relative to it. */
  readonly folder: string
  /** "status 7", "SIGKILL" */
  readonly ended: string
  readonly timedOut: boolean
}

const again = `then ${runAgain}`

/** The causes that people meet; the first that matches applies. With hyphens a name is the failure's code. */
const causes: readonly {
  readonly name: string
  readonly by: SshResult['by']
  readonly pattern: RegExp
  /** One remedy for all that have it. */
  readonly remedy: (results: readonly SshResult[]) => string
}[] = [
  {
    name: 'host key changed',
    by: 'ssh',
    pattern: /host key for \S+ has changed/i,
    remedy: (results) =>
      [
        'if the machine was reinstalled, compare its fingerprint (on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then:',
        ...unique(results.map(forgetKey)),
        'if it was not, another machine may be impersonating it',
      ].join('\n'),
  },
  {
    name: 'host key unknown',
    by: 'ssh',
    pattern: /host key is known for|Host key verification failed/,
    remedy: (results) =>
      [
        "compare the fingerprint that ssh shows with the machine's own (on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub):",
        asking(results.map(({ host }) => host)),
        'or trust the key of each node on first use: StrictHostKeyChecking accept-new in the file of ssh.configFile',
      ].join('\n'),
  },
  {
    name: 'authentication refused',
    by: 'ssh',
    pattern: /Permission denied \(|Too many authentication failures|no mutual signature|incorrect passphrase/,
    remedy: ([result]) =>
      `check that this works without a prompt (a key with a passphrase belongs in ssh-agent: ssh-add):\n${result?.host.ssh(['-o', 'BatchMode=yes'])}`,
  },
  {
    name: 'name unknown',
    by: 'ssh',
    pattern: /Could not resolve hostname/,
    remedy: () => 'add it to DNS or /etc/hosts, or correct host in cluster.yaml',
  },
  {
    name: 'connection refused',
    by: 'ssh',
    pattern: /Connection refused/,
    remedy: () => `check that sshd runs there, and on which port; ${again}`,
  },
  {
    name: 'timed out',
    by: 'ssh',
    pattern: /timed out|No route to host|Network is unreachable|Host is down|not responding/i,
    remedy: () => `check that the machine is up and reachable; ${again}`,
  },
  {
    name: 'no sftp',
    by: 'node',
    // On a shared connection ssh reports a closed sftp subsystem as a closed connection.
    pattern: /subsystem request failed|sftp-server: (not found|No such file)|^(\S*scp: )?Connection closed/im,
    remedy: () => 'scp needs the line "Subsystem sftp internal-sftp" in /etc/ssh/sshd_config there',
  },
  {
    name: 'connection lost',
    by: 'ssh',
    // It says nothing when a connection is closed before authentication, nor what a jump host's ssh says (ControlPersist).
    pattern:
      /^\s*$|kex_exchange_identification|Connection (reset|closed|to .* closed)|Broken pipe|lost connection|client_loop|mux_client|banner exchange/i,
    remedy: ([result]) => `${runAgain}; if it goes on, see why: ${result?.host.ssh(['-v'])}`,
  },
]

export function sshFailure(result: SshResult): Failure {
  const { node, host, by, stderr, ended, timedOut } = result
  const cause = causes.find((each) =>
    timedOut ? each.name === 'timed out' : each.by === by && each.pattern.test(stderr),
  )
  if (!cause) {
    const what = excerpt(lastLine(stderr)) || `ssh ended with ${ended}`
    const remedyFor = ([one = host]: readonly SshHost[]) =>
      by === 'ssh' ? `see why: ${one.ssh(['-v'])}` : `see why there (df, ls -l, lsattr, dmesg); ${again}`
    return new Failure(what, { node, code: 'other', shared: { what, who: node, place: host, remedyFor } })
  }
  const said = timedOut ? '' : excerpt(lineOf(stderr, cause.pattern))
  return new Failure(said === '' ? cause.name : `${cause.name} (${said})`, {
    node,
    code: cause.name.replaceAll(' ', '-'),
    shared: { what: cause.name, who: node, place: result, remedyFor: cause.remedy },
  })
}

/** A command that removes the key: ssh names the host, which may be a jump host, as known_hosts does, and that file. */
function forgetKey({ stderr, folder }: SshResult): string {
  const [, name = ''] = /host key for (\S+) has changed/i.exec(stderr) ?? []
  const [, file] = /^Offending .* key in (.*):\d+\r?$/m.exec(stderr) ?? []
  return ['ssh-keygen', '-R', name, ...(file ? ['-f', resolve(folder, file)] : [])].map(quote).join(' ')
}

function lineOf(text: string, pattern: RegExp): string {
  return text.split(/\r?\n/).find((line) => pattern.test(line)) ?? lastLine(text)
}

/** Without a line by which a tool ends after it has said what failed. */
function lastLine(text: string): string {
  const lines = text.trim().split(/\r?\n/)
  return lines.findLast((line) => !/Exiting with failure status|failed to upload file/.test(line)) ?? lines.at(-1) ?? ''
}

/** A command by which ssh offers to accept the keys: ssh knows the name, port, jump hosts and known_hosts file. */
function asking(hosts: readonly SshHost[]): string {
  const [first] = hosts
  const names = unique(hosts.map(({ destination }) => destination))
  const options = ['-o', 'StrictHostKeyChecking=ask']
  if (names.length === 1) return `${first?.ssh(options)}`
  return `for node in ${names.join(' ')}; do ${first?.ssh(options, '"$node"')}; done`
}

function unique(lines: readonly string[]): string[] {
  return [...new Set(lines)]
}
