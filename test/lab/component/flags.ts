/** The flags that units give. Of one that it does not know, as any that begins with no-such-, a component ends. */
export type Flags = ReadonlyMap<string, string>

/** Throws, in the words of the real ones, of what they would not start with. */
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

/** Milliseconds of a Go duration in whole seconds, as `6s`; 0 where there is none. */
export function duration(flags: Flags, name: string): number {
  const text = flags.get(name)
  if (text === undefined) return 0
  const [, seconds] = /^(\d+)s$/.exec(text) ?? []
  if (seconds === undefined) throw new Error(`invalid argument ${JSON.stringify(text)} for "--${name}" flag`)
  return Number(seconds) * 1000
}
