import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addressBytes,
  canonicalAddress,
  firstAddress,
  formatAddress,
  parseCidr,
  specialUse,
} from '../../lib/address.ts'
import { fc } from '../support/properties.ts'

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
/** Zeros often enough for :: to have something to stand for. */
const groups8 = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 })

function bytesOf(groups: readonly number[]): Buffer {
  return Buffer.from(groups.flatMap((group) => [group >> 8, group & 0xff]))
}

test('bytes come back from their text as they were', () => {
  const bytes = fc.oneof(bytes4, groups8.map(bytesOf))
  fc.assert(fc.property(bytes, (all) => addressBytes(formatAddress(Buffer.from(all)))?.equals(all) === true))
})

test('the canonical form is that of RFC 5952', () => {
  // The examples of its sections 1, 2 and 4.
  assert.equal(canonicalAddress('2001:0db8:0:0:1:0:0:1'), '2001:db8::1:0:0:1')
  assert.equal(canonicalAddress('2001:0:0:1:0:0:0:1'), '2001:0:0:1::1')
  assert.equal(canonicalAddress('2001:db8::AAAA'), '2001:db8::aaaa')
  assert.equal(canonicalAddress('0:0:0:0:0:0:0:0'), '::')
})

test('what is no IPv6 address has no other form', () => {
  for (const text of ['10.0.0.1', 'control0', 'fe80::1%eth0', 'FD00:']) assert.equal(canonicalAddress(text), text)
})

test('names, zones, ports, prefixes and half addresses are no addresses', () => {
  for (const text of [
    ...['', 'localhost', '10.0.0', '10.0.0.256', '10.0.0.01', '10.0.0.1:80', '10.0.0.0/8', '[::1]', 'fe80::1%eth0'],
    ...['1::2::3', ':', ':::', '::fffff', ' ::1', '0x7f.0.0.1', '1:2:3:4:5:6:7:8:9'],
  ])
    assert.equal(addressBytes(text), undefined, text)
})

test('a block with host bits names the block that it is in, and that one is right', () => {
  const blocks = fc
    .oneof(bytes4, groups8.map(bytesOf))
    .chain((bytes) => fc.tuple(fc.constant(Buffer.from(bytes)), fc.integer({ min: 0, max: bytes.length * 8 })))
  fc.assert(
    fc.property(blocks, ([address, prefix]) => {
      const hostBits = BigInt(address.length * 8 - prefix)
      const value = BigInt(`0x${address.toString('hex')}`)
      const masked = (value >> hostBits) << hostBits
      const network = Buffer.from(masked.toString(16).padStart(address.length * 2, '0'), 'hex')
      const block = `${formatAddress(network)}/${prefix}`
      assert.deepEqual(parseCidr(block), { network, prefix })
      if (masked !== value)
        assert.equal(
          parseCidr(`${formatAddress(address)}/${prefix}`),
          `is an address inside a block; write it as ${block}`,
        )
      if (hostBits > 0n)
        assert.equal(BigInt(`0x${addressBytes(firstAddress({ network, prefix }))?.toString('hex')}`), masked + 1n)
    }),
  )
})

test('what is not a block is reported as such', () => {
  for (const text of ['', '/', '/16', '10.32.0.0', '10.32.0.0/', '10.32.0.0/a', '10.32.0.0/-1', '10.32.0/16', 'x/8'])
    assert.equal(parseCidr(text), 'is not an address block; write it as 10.32.0.0/16', text)
  assert.equal(parseCidr('10.0.0.0/33'), 'has a prefix of more than 32 bits')
  assert.equal(parseCidr('fd00::/129'), 'has a prefix of more than 128 bits')
})

test('an address of special use is recognised by its first and last, and its neighbours are not', () => {
  const rows: [string, string[], string[]][] = [
    ['unspecified', ['0.0.0.0', '0.255.255.255', '::'], ['1.0.0.0']],
    ['loopback', ['127.0.0.0', '127.255.255.255', '::1', '::ffff:127.0.0.1'], ['126.255.255.255', '128.0.0.0', '::2']],
    ['link-local', ['169.254.0.0', '169.254.255.255', 'fe80::', 'febf::1'], ['169.253.0.1', '169.255.0.1', 'fec0::1']],
    ['multicast', ['224.0.0.0', '239.255.255.255', 'ff00::', 'ff02::1'], ['223.255.255.255', '240.0.0.0', 'fdff::1']],
    ['broadcast', ['255.255.255.255'], ['255.255.255.254']],
  ]
  for (const [use, inside, outside] of rows) {
    for (const address of inside) assert.equal(specialUse(address), use, address)
    for (const address of outside) assert.equal(specialUse(address), undefined, address)
  }
  assert.equal(specialUse('no address'), undefined)
})
