/** fast-check, with the seed of seed.ts; it is loaded by the files alone that try properties. */
import fc from 'fast-check'

const { FAST_CHECK_SEED } = process.env
if (FAST_CHECK_SEED !== undefined) fc.configureGlobal({ seed: Number(FAST_CHECK_SEED) })

export { fc }
