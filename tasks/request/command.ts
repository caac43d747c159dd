/** Commands as their user types them. Pure. */
import { quote } from '../../lib/wording.ts'

/** A clone has npm scripts; a package, installed in somebody's own repository, has a bin. */
type Form = 'clone' | 'package'

/** Only the package is JavaScript: Node strips no types under node_modules. */
const ownForm: Form = import.meta.filename.endsWith('.ts') ? 'clone' : 'package'

/**
 * For the cluster.yaml in use, in the form in which harderway was called: `npm run task -- ca --force`. `clone` is the
 * clone's folder, if npm was called from another one.
 */
export function formatCommand(
  task: string,
  { config, clone }: { readonly config?: string | undefined; readonly clone?: string | undefined },
  form = ownForm,
): string {
  const whole = task + (config === undefined ? '' : ` --config ${quote(config)}`)
  if (form === 'package') return `npx harderway ${whole}`
  const npm = clone === undefined ? 'npm' : `npm --prefix ${quote(clone)}`
  const [, words] = /^bootstrap ?(.*)$/.exec(whole) ?? []
  return words === undefined ? `${npm} run task -- ${whole}` : `${npm} run bootstrap${words && ` -- ${words}`}`
}

/** To type in the folder of this call, for the same cluster.yaml. */
export function commandOf({ options: { config }, clone }: CalledAs, task: string): string {
  return formatCommand(task, { config, clone })
}

interface CalledAs {
  readonly options: { readonly config?: string | undefined }
  readonly clone: string | undefined
}
