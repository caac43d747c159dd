// Importing forge's ASN.1 alone starts four times as fast as all of forge; its types are those of the whole package.
declare module 'node-forge/lib/asn1.js' {
  import type * as forge from 'node-forge'

  const asn1: typeof forge.asn1
  // biome-ignore lint/style/noDefaultExport: the module is CommonJS, where module.exports is the default
  export default asn1
}
