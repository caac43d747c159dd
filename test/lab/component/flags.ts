/** The flags that units give. Of one that begins with no-such- a component ends. */
export type Flags = ReadonlyMap<string, string>

export function parseFlags(component: string, args: readonly string[]): Flags {
  return new Map(
    args.map((arg) => {
      const [, name = '', value = 'true'] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? []
      if (name === '') throw new Error(`unknown command ${JSON.stringify(arg)} for ${JSON.stringify(component)}`)
      if (name.startsWith('no-such-')) throw new Error(`unknown flag: --${name}`)
      return [name, value]
    }),
  )
}

export function required(flags: Flags, name: string): string {
  const value = flags.get(name)
  if (!value) throw new Error(`--${name} must be specified`)
  return value
}
