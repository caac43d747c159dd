/** The commands of docs/bad-day.md, "A key that may have leaked", as they are printed there, by what has leaked. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const page = readFileSync(join(import.meta.dirname, '../../docs/bad-day.md'), 'utf8')

/** By rotations: the words of each command after `harderway`, in order. */
export const recipes: ReadonlyMap<string, readonly (readonly string[])[]> = new Map(readRecipes())

function readRecipes(): [leak: string, commands: string[][]][] {
  const [, section = ''] = page.split('\n## A key that may have leaked\n')
  const [, ...parts] = (section.split(/^## /m)[0] ?? '').split(/^### /m)
  return parts.map((part) => {
    const blocks = part.match(/^```sh\n(.*?)^```$/gms) ?? []
    const lines = blocks.flatMap((block) => block.match(/(?<=^harderway (?!bootstrap))[^#\n]*/gm) ?? [])
    return [part.slice(0, part.indexOf('\n')), lines.map((line) => line.trim().split(/ +/))]
  })
}

/** The lines of the sh blocks under the first of these headings that a page of docs/ has, without their comments. */
export function linesUnder(...headings: readonly string[]): string[] {
  const docs = join(import.meta.dirname, '../../docs')
  const pages = readdirSync(docs).filter((name) => name.endsWith('.md'))
  const texts = pages.map((name) => readFileSync(join(docs, name), 'utf8'))
  for (const heading of headings)
    for (const text of texts) {
      const [, section] = text.split(new RegExp(`^#+ ${RegExp.escape(heading)}\n`, 'm'))
      const blocks = section?.split(/^#+ /m)[0]?.matchAll(/^```sh\n(.*?)^```$/gms) ?? []
      const lines = Array.from(blocks, ([, block = '']) => block.split('\n')).flat()
      if (lines.length > 0) return lines.map((line) => line.replace(/ +#.*/, '')).filter(Boolean)
    }
  throw new Error(`no page has commands under ${headings.join(' or ')}`)
}
