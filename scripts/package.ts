/**
 * `npm run package`: the package, in dist/. Node strips no types under node_modules, so its code is JavaScript;
 * bundled, it starts faster and installs without a registry. It is not minified: people read what handles the key of
 * their CA, and a stack trace names functions.
 */
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { build } from 'rolldown'

process.chdir(join(import.meta.dirname, '..'))
// Modes are part of an archive, so they are the same everywhere; those of the clone, which cpSync would copy, are not.
process.umask(0o022)
rmSync('dist', { recursive: true, force: true })
/** Those that are bundled. */
export const packages = await bundle()
for (const path of ['tasks/commands/report.css', 'lib/node/node.sh'])
  writeFileSync(`dist/bin/${basename(path)}`, readFileSync(path))
writeFileSync('dist/package.json', manifest())
writeFileSync('dist/LICENSES', licences())
for (const path of ['LICENSE', 'cluster.yaml']) writeFileSync(`dist/${path}`, readFileSync(path))
const pages = [
  ...['README.md', 'CHANGELOG.md', 'SECURITY.md'],
  ...globSync('docs/*.*').filter((path) => !/\.(png|svg)$/.test(path)),
]
mkdirSync('dist/docs')
for (const path of pages) writeFileSync(`dist/${path}`, extname(path) === '.md' ? page(path) : readFileSync(path))

/** Each import() is a file, as is what several of them share: a command loads what it needs. */
async function bundle() {
  const { output } = await build({
    input: 'tasks/main.js',
    platform: 'node',
    // Hashes in names of files are made of the modules' paths: of those in the clone, also where node_modules is a
    // link.
    resolve: { symlinks: false },
    output: { dir: 'dist/bin', chunkFileNames: '[name]-[hash].js', comments: { jsdoc: false } },
    plugins: [
      {
        name: 'bundle what a require() loads',
        transform: { filter: { id: /\/lib\/.*\.ts$/ }, handler: followRequire },
      },
    ],
  })
  const modules = output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []))
  const folders = new Set(modules.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []))
  return [...folders].map((folder) => ({ folder, ...readManifest(folder) }))
}

/** A bundler follows the require() of CommonJS, and not one that a module makes for itself. */
function followRequire(code: string): string {
  return code.replace('const require = createRequire(import.meta.url)\n', '')
}

/** Without dependencies or scripts: those of the clone are for work on it. */
function manifest(): string {
  const { name, version, description, license, private: isPrivate, type, engines } = readManifest('.')
  const bin = { harderway: 'bin/main.js' }
  return `${JSON.stringify({ name, version, description, license, private: isPrivate, type, bin, engines }, null, 2)}\n`
}

/** Of the packages that were bundled, and of what they bundled themselves. */
function licences(): string {
  const texts = packages.map(({ folder, name, version, license }) => {
    const files = globSync(`${folder}/{,*/}{,*-}{LICENSE,license,licenses}{,.md,.txt}`)
    if (files.length === 0) throw new Error(`${folder} has no licence to pass on`)
    return [`${name} ${version} (${license})`, ...files.map((file) => readFileSync(file, 'utf8').trim())].join('\n\n')
  })
  return `Bundled in bin/:\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`
}

/** For a reader of the package: its commands, no image, and links only to what is in it. */
function page(path: string): string {
  const isThere = (link: string) => {
    const target = join(dirname(path), link.replace(/#.*/, ''))
    return /^(\w+:|#)/.test(link) || pages.includes(target) || existsSync(join('dist', target))
  }
  return readFileSync(path, 'utf8')
    .replace(/^### From a clone\n[\s\S]*?(?=^#)/m, '')
    .replace(/^<img .*\n\n?/gm, '')
    .replace(/\[([^\]]+)\]\(([^)\s]+)\)/g, (whole, text, link) => (isThere(link) ? whole : text))
    .replace(/^```\w*\n[\s\S]*?^```$|`[^`\n]+`/gm, (code) =>
      code.replace(/(?<!npx |[\w./-])harderway (?=[a-z-])/g, 'npx $&'),
    )
}

function readManifest(folder: string) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}
