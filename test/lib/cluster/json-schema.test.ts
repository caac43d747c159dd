import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { and, edited, minimal } from '../../support/files.ts'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const schema = readFileSync(file('docs/cluster.schema.json'), 'utf8')
const validate = new Ajv({ allErrors: true }).compile(JSON.parse(schema))

/** Where and why the schema refuses it. */
function errorsOf(yaml: string): string[] {
  validate(parse(yaml))
  return (validate.errors ?? []).map(({ instancePath, message, params }) =>
    `${instancePath}: ${message} ${params.additionalProperty ?? ''}`.trim(),
  )
}

test('what may be written is valid', () => {
  const all = `${minimal.replace('role:', 'sans: [a], host: b, port: 22, directory: /x, role:')}
network: { serviceCIDR: [10.32.0.0/16, "fd00::/108"] }
ssh: { configFile: ./ssh_config }
localKubeconfig: { path: ./config }
`
  for (const text of [readFileSync(file('cluster.yaml'), 'utf8'), minimal, all, and('localKubeconfig: false')])
    assert.deepEqual(errorsOf(text), [])
})

test('what is mistyped, missing, of another type or not on offer is refused', () => {
  for (const [text, ...errors] of [
    [and('encrypton: {}'), ': must NOT have additional properties encrypton'],
    [and('ssh: { usr: root }'), '/ssh: must NOT have additional properties usr'],
    [edited('role:', 'prot: 22, role:'), '/nodes/0: must NOT have additional properties prot'],
    [
      edited('virtualIP: 10.0.0.1', ''),
      ...["/api: must have required property 'virtualIP'", ': must match "else" schema'],
    ],
    [and('ssh: { concurrency: many }'), '/ssh/concurrency: must be integer'],
    [edited('role: control', 'role: master'), '/nodes/0/role: must be equal to one of the allowed values'],
  ] as const)
    assert.deepEqual(errorsOf(text), errors)
})
