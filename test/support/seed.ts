/** Properties are tried with the same values in every `npm test`: what is new is looked for by `npm run test:long`. */
import fc from 'fast-check'

fc.configureGlobal({ seed: 1 })
