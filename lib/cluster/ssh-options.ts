/** Which ssh options may be set in cluster.yaml. Pure. */
import { type Problem, type Raw, shown, textOf } from './problem.ts'

/** ssh options that harderway sets itself, or that would break what it relies on. Lower case: ssh ignores case. */
const reservedSshOptions = new Map(
  Object.entries({
    user: 'set ssh.user, or user of the node',
    port: 'set port of the node',
    hostname: 'set host of the node',
    nohostauthenticationforlocalhost: 'host keys are always checked',
    verifyhostkeydns: 'host keys are checked against known_hosts',
    updatehostkeys: 'concurrent connections would overwrite known_hosts',
  }),
)
for (const option of [
  ...['batchmode', 'controlmaster', 'controlpath', 'controlpersist', 'remotecommand', 'requesttty', 'sessiontype'],
  ...['forkafterauthentication', 'stdinnull', 'permitlocalcommand', 'clearallforwardings', 'loglevel'],
])
  reservedSshOptions.set(option, 'harderway sets it itself')
for (const option of [
  ...['forwardagent', 'forwardx11', 'forwardx11trusted', 'gssapidelegatecredentials', 'addkeystoagent', 'localcommand'],
  ...['tunnel', 'localforward', 'remoteforward', 'dynamicforward', 'sendenv', 'setenv'],
])
  reservedSshOptions.set(option, 'nothing of this machine is passed on to a node')

export function sshOptionProblems(options: Raw): Problem[] {
  return Object.entries(options).flatMap(([key, value]): Problem[] => {
    const path = ['ssh', 'options', key]
    if (!/^[A-Za-z][A-Za-z0-9]{1,60}$/.test(key))
      return [{ path, at: 'key', message: 'is not an ssh option: give a word such as ConnectTimeout (man ssh_config)' }]
    const reserved = reservedSshOptions.get(key.toLowerCase())
    if (reserved !== undefined) return [{ path, at: 'key', message: `can't be set here: ${reserved}` }]
    if (/[\p{Cc}\p{Cs}]/u.test(textOf(value))) return [{ path, message: `${shown(value)} has a control character` }]
    const trusting = `${shown(value)} would trust any machine that answers`
    if (key.toLowerCase() === 'stricthostkeychecking' && !/^(true|yes|ask|accept-new)$/i.test(textOf(value)))
      return [{ path, message: `${trusting}: accept-new, yes or ask, or nothing` }]
    if (key.toLowerCase() === 'userknownhostsfile' && /^(none|\/dev\/null)$/i.test(textOf(value)))
      return [{ path, message: `${trusting}: give a file` }]
    return []
  })
}
