/** Commands as their user types them. Pure. */
import { quote } from '../../lib/wording.ts'

/** A clone has npm scripts; a package, installed in somebody's own repository, has a bin. */
type Form = 'clone' | 'package'

/** Node strips no types under node_modules, so that only a package is compiled. */
const ownForm: Form = import.meta.filename.endsWith('.ts') ? 'clone' : 'package'

/** For the cluster.yaml in use, and in the form in which this is called: `npm run task -- ca --force`. */
export function formatCommand(
  task: string,
  { config }: { readonly config?: string | undefined },
  form = ownForm,
): string {
  const whole = task + (config === undefined ? '' : ` --config ${quote(config)}`)
  if (form === 'package') return `npx harderway ${whole}`
  const [, words] = /^bootstrap ?(.*)$/.exec(whole) ?? []
  return words === undefined ? `npm run task -- ${whole}` : `npm run bootstrap${words && ` -- ${words}`}`
}
