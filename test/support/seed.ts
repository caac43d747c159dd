/**
 * Before each test file: properties are tried with the same values every time (what is new is looked for by
 * `npm run test:long`), and texts have no colours, which Node's test runner asks for where its own output is a terminal.
 */
import fc from 'fast-check'

fc.configureGlobal({ seed: 1 })
delete process.env.FORCE_COLOR
