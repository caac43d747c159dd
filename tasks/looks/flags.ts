/** Flags that a component has to be started with: where they are set already, and the command that sets them. Pure. */
import { formatExec, formatNames, printable, quote } from '../../lib/wording.ts'
import { type CommandLine, flagsIn } from './command-line.ts'

export interface WantedFlag {
  /** With its hyphens. */
  readonly flag: string
  readonly value: string
  /** Flags in whose place it stands: the component takes only one of them. */
  readonly replaces?: readonly string[]
}

/** Where a unit lacks what it has to be started with. `next`: of its unit file; undefined if that does not say all. */
export function compareFlags<Wanted extends WantedFlag>(
  wanted: readonly Wanted[],
  { running, next }: { readonly running: readonly CommandLine[]; readonly next: CommandLine | undefined },
) {
  const lacks =
    ({ named }: CommandLine) =>
    ({ flag, value, replaces = [] }: Wanted) =>
      named([flag])[1].at(-1) !== value || replaces.some((other) => named([other])[1].length > 0)
  const notRunning = wanted.filter((each) => running.some((command) => lacks(command)(each)))
  /** In its unit file, or where that can't be read in its process: its owner has to set them. */
  const unset = next ? wanted.filter(lacks(next)) : notRunning
  /** In its process alone: a restart sets them. */
  return { unset, notStartedWith: notRunning.filter((each) => !unset.includes(each)) }
}

/** A unit, and how it is started. */
export interface Starting {
  readonly unit: string
  readonly service: string
  /** Of one of its processes; empty if it has none. */
  readonly command: readonly string[]
  /** In its unit file, as systemd prints it; undefined if there is none, or several. */
  readonly start: string | undefined
  /** Its first word is not the path of its program. */
  readonly isRenamed: boolean
  /** As whom commands are typed there: empty for root. */
  readonly sudo: string
}

/**
 * A sentence that says how they are set, for a user who may be root there. A run restarts the unit afterwards, so the
 * command does not; only what the unit file does not show has to be restarted by its owner.
 */
export function formatUnset(starting: Starting, unset: readonly WantedFlag[]): string {
  const { unit, service } = starting
  const typed = formatDropIn(starting, unset)
  const instead = (replaces: readonly string[] = []) =>
    replaces.length > 0 ? ` (instead of ${formatNames(replaces)})` : ''
  const flags = unset.map(({ flag, value, replaces }) => `${flag}=${value}${instead(replaces)}`)
  if (typed === undefined)
    return `${unit} needs ${flags.join(', ')}; set that where its command line comes from (systemctl cat ${quote(service)}), and restart it, one node at a time`
  const names = unset.map(({ flag }) => flag).join(', ')
  return `${unit} needs ${names}; run this on the node (the next run restarts ${unit})\n    ${typed}`
}

/**
 * The command that sets them; undefined where what systemd prints of the unit file is not all that starts the process.
 */
export function formatDropIn(
  { service, command, start, isRenamed, sudo }: Starting,
  wanted: readonly WantedFlag[],
): string | undefined {
  const words = isRenamed ? undefined : wordsOf(start, command, wanted)
  if (!words) return undefined
  const lines = [
    '# Written by a command of harderway. Change the command line here; systemd ignores that of the unit file.',
    '[Service]',
    // Empty, it takes back what was set before: systemd.service(5).
    'ExecStart=',
    `ExecStart=${formatExec(setFlags(words, wanted))}`,
  ]
  // Read after all others that set ExecStart, as of systemctl edit, which writes override.conf: systemd.unit(5).
  const folder = `/etc/systemd/system/${service}.service.d`
  const root = sudo === '' ? '' : `${sudo} `
  const write = `printf '%s\\n' ${lines.map(quote).join(' ')} | ${root}tee ${quote(`${folder}/zz-harderway.conf`)} >/dev/null`
  return `${root}mkdir -p ${quote(folder)} && ${write} && ${root}systemctl daemon-reload`
}

/** The words of a command line with these flags: each where it was, or one that it replaces; a new one at the end. */
function setFlags(words: readonly string[], wanted: readonly WantedFlag[]): string[] {
  const namesOf = ({ flag, replaces = [] }: WantedFlag) => [flag, ...replaces]
  const dropped = flagsIn(words).filter(({ name }) => wanted.some((each) => namesOf(each).includes(name)))
  const placeOf = (each: WantedFlag) => dropped.find(({ name }) => namesOf(each).includes(name))?.at ?? words.length
  const setAt = (place: number) =>
    wanted.filter((each) => placeOf(each) === place).map(({ flag, value }) => `${flag}=${value}`)
  const isDropped = (place: number) => dropped.some(({ at, end }) => place >= at && place < end)
  return [...words.flatMap((word, i) => [...setAt(i), ...(isDropped(i) ? [] : [word])]), ...setAt(words.length)]
}

/**
 * Of a unit file's command, which systemd prints with blanks in and between its words: those that its process has show
 * which are which. Undefined if it does not say all that the process was started with, or a word can't be known, or
 * printed.
 */
function wordsOf(
  start: string | undefined,
  known: readonly string[],
  unset: readonly WantedFlag[],
): string[] | undefined {
  if (start === undefined || start.includes('$') || printable(start) !== start) return undefined
  const words: string[] = []
  for (let rest: string | undefined = start; rest !== undefined; ) {
    const text: string = rest
    const among = [text.replace(/ .*/s, ''), ...known.filter((word) => `${text} `.startsWith(`${word} `))]
    const word = among.reduce((longest, each) => (each.length > longest.length ? each : longest))
    words.push(word)
    rest = text.length > word.length ? text.slice(word.length + 1) : undefined
  }
  const isValue = (i: number) => /^--?[^=]+$/.test(words[i - 1] ?? '')
  const isKnown = (word: string, i: number) => i === 0 || word.startsWith('-') || isValue(i) || known.includes(word)
  const names = (args: readonly string[]) => new Set(flagsIn(args).map(({ name }) => name))
  const comesFromElsewhere = ({ flag, replaces = [] }: WantedFlag) =>
    [flag, ...replaces].some((each) => names(known).has(each) && !names(words).has(each))
  return words.every(isKnown) && !unset.some(comesFromElsewhere) ? words : undefined
}
