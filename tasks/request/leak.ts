/** The commands that make leaked keys useless. */
import { caName } from '../../lib/files/names.ts'

/**
 * Replaces these parts of the identity, one after the other. `rotate ca` reissues every certificate over its existing key, and
 * nothing revokes what the next CA has signed, so all leaf keys are replaced before it.
 */
export function commandsAfterLeak(command: (task: string) => string, identities: readonly string[]): string[] {
  return identities
    .flatMap((identity) => [
      ...(identity === caName ? ['certs --force', 'bootstrap'] : []),
      `rotate ${identity}`,
      `rotate ${identity} --finish`,
    ])
    .map(command)
}
