/** So many RSA-2048 keys, with all cores and nothing else: `node test/bench/bare-rsa.ts COUNT`. */
import { generateKeyPair } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'

const generate = promisify(generateKeyPair)
let left = Number(process.argv[2])

await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    while (left-- > 0) await generate('rsa', { modulusLength: 2048 })
  }),
)
