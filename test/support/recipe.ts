/** The commands of docs/rotation.md, "A key that may have leaked", as they are printed there. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const page = readFileSync(join(import.meta.dirname, '../../docs/rotation.md'), 'utf8')

/** The words of each command after `npm run task --`, in order, by what has leaked. */
export const recipes: ReadonlyMap<string, readonly (readonly string[])[]> = readRecipes()

function readRecipes() {
  const [, section = ''] = page.split('\n## A key that may have leaked\n')
  const [, ...parts] = (section.split(/^## /m)[0] ?? '').split(/^### /m)
  return new Map(
    parts.map((part): [string, string[][]] => {
      const [, block = ''] = /^```sh\n(.*?)^```$/ms.exec(part) ?? []
      const commands = [...block.matchAll(/^npm run task -- ([^#\n]*)/gm)].map(([, words = '']) =>
        words.trim().split(/ +/),
      )
      return [part.slice(0, part.indexOf('\n')), commands]
    }),
  )
}
