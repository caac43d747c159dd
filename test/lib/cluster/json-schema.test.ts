import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { minimal } from '../../support/files.ts'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const schema = readFileSync(file('cluster.schema.json'), 'utf8')
const validate = new Ajv({ allErrors: true }).compile(JSON.parse(schema))

/** Where and why the schema refuses it. */
function errorsOf(yaml: string): string[] {
  validate(parse(yaml))
  return (validate.errors ?? []).map(({ instancePath, message, params }) =>
    `${instancePath}: ${message} ${params.additionalProperty ?? ''}`.trim(),
  )
}

test('cluster.schema.json is what `npm run schema` prints', () => {
  assert.equal(execFileSync(process.execPath, [file('test/lib/cluster/print-schema.ts')], { encoding: 'utf8' }), schema)
})

test("the guide's cluster.yaml is valid, and so is the smallest one", () => {
  assert.deepEqual(errorsOf(readFileSync(file('cluster.yaml'), 'utf8')), [])
  assert.deepEqual(errorsOf(minimal), [])
})

test('every key that there is may be written', () => {
  const all = `${minimal.replace('role:', 'sans: [a], host: b, port: 22, directory: /x, role:')}
network: { serviceCIDR: [10.32.0.0/16, "fd00::/108"] }
ssh: { configFile: ./ssh_config, options: { ConnectTimeout: 5, Compression: true, ProxyJump: a } }
localKubeconfig: { path: ./config }
`
  assert.deepEqual(errorsOf(all), [])
  assert.deepEqual(errorsOf(`${minimal}localKubeconfig: false\n`), [])
})

test('a mistyped key is refused at the top, in a section and in a node', () => {
  assert.deepEqual(errorsOf(`${minimal}encrypton: {}\n`), [': must NOT have additional properties encrypton'])
  assert.deepEqual(errorsOf(`${minimal}ssh: { usr: root }\n`), ['/ssh: must NOT have additional properties usr'])
  assert.deepEqual(errorsOf(minimal.replace('role:', 'prot: 22, role:')), [
    '/nodes/0: must NOT have additional properties prot',
  ])
})

test('what is missing, of another type or not on offer is refused', () => {
  assert.deepEqual(errorsOf(minimal.replace('virtualIP: 10.0.0.1', '')), [
    "/api: must have required property 'virtualIP'",
    ': must match "else" schema',
  ])
  assert.deepEqual(errorsOf(`${minimal}ssh: { concurrency: many }\n`), ['/ssh/concurrency: must be integer'])
  assert.deepEqual(errorsOf(minimal.replace('role: control', 'role: master')), [
    '/nodes/0/role: must be equal to one of the allowed values',
  ])
})
