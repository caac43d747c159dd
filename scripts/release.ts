/**
 * `npm run release`: what a release consists of, in release/: the package, an SBOM of what is bundled in it, and the
 * sums of both. The same commit makes the same bytes, with the same Node and npm.
 */
import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

process.chdir(join(import.meta.dirname, '..'))
const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'))
const [, latest] = /^## (\S+)/m.exec(readFileSync('CHANGELOG.md', 'utf8')) ?? []
if (latest !== version) refuse(`package.json has version ${version}, and CHANGELOG.md begins with ${latest}`)
const npm = run('npm', '--version').trim()
if (Number(npm.split('.')[0]) < 10) refuse(`npm ${npm} has no "npm sbom"; use npm 10 or later`)
const changes = run('git', 'status', '--porcelain')
if (changes !== '') refuse(`commit these first, or remove them:\n${changes}`)

// What is bundled is what package-lock.json has, although node_modules was edited.
run('npm', 'ci', '--prefer-offline')
const { packages } = await import('./package.ts')
rmSync('release', { recursive: true, force: true })
mkdirSync('release')
run('npm', 'pack', './dist', '--silent', '--pack-destination', 'release')
writeFileSync(`release/${name}-${version}.sbom.json`, sbom())
const sums = readdirSync('release').map((file) => `${hash('sha256', readFileSync(`release/${file}`))}  ${file}\n`)
writeFileSync('release/SHA256SUMS', sums.join(''))
process.stdout.write(`in release/:\n${sums.join('')}`)

/** npm's, of what is bundled; without a time and a random number, and with our name where it puts the folder's. */
function sbom(): string {
  const args = ['--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only']
  const bom = JSON.parse(run('npm', 'sbom', ...args))
  const bundled = new Set(packages.map((each) => `${each.name}@${each.version}`))
  bom.serialNumber = undefined
  bom.metadata.timestamp = undefined
  bom.metadata.component.name = name
  bom.components = bom.components.filter((each: { 'bom-ref': string }) => bundled.has(each['bom-ref']))
  bom.dependencies = bom.dependencies.flatMap(({ ref, dependsOn }: { ref: string; dependsOn: string[] }) =>
    bundled.has(ref) || ref === `${name}@${version}`
      ? [{ ref, dependsOn: dependsOn.filter((each) => bundled.has(each)) }]
      : [],
  )
  return `${JSON.stringify(bom, null, 2)}\n`
}

function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8' })
}

function refuse(why: string): never {
  console.error(`No release was made: ${why}`)
  process.exit(1)
}
