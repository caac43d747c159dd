/** The commands of docs/bad-day.md, "A key that may have leaked", as they are printed there, by what has leaked. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const page = readFileSync(join(import.meta.dirname, '../../docs/bad-day.md'), 'utf8')

/** With a list of the revoked: what is typed, a line each. */
export const revocations: ReadonlyMap<string, readonly string[]> = new Map(
  readRecipes(/^(?:openssl|harderway bootstrap).*$/gm).flatMap(([leak, lines]) =>
    lines.length > 0 ? [[leak, lines]] : [],
  ),
)

/** By rotations: the words of each command after `harderway`, in order. */
export const recipes: ReadonlyMap<string, readonly (readonly string[])[]> = new Map(
  readRecipes(/(?<=^harderway (?!bootstrap))[^#\n]*/gm).map(([leak, lines]) => [
    leak,
    lines.map((line) => line.trim().split(/ +/)),
  ]),
)

function readRecipes(command: RegExp): [leak: string, commands: string[]][] {
  const [, section = ''] = page.split('\n## A key that may have leaked\n')
  const [, ...parts] = (section.split(/^## /m)[0] ?? '').split(/^### /m)
  return parts.map((part) => {
    const blocks = Array.from(part.matchAll(/^```sh\n(.*?)^```$/gms), ([, block = '']) => block)
    return [part.slice(0, part.indexOf('\n')), blocks.flatMap((block) => block.match(command) ?? [])]
  })
}
