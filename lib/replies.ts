/**
 * What those who were asked have answered. A sentence that says "nobody", "not used" or "everywhere" takes `AllReplies`:
 * where one did not answer, or was not asked, it can't be formed.
 */
export type Replies<T> = AllReplies<T> | SomeReplies<T>

export interface AllReplies<T> {
  readonly isComplete: true
  readonly answers: ReadonlyMap<string, T>
}

interface SomeReplies<T> {
  readonly isComplete: false
  readonly answers: ReadonlyMap<string, T>
}

/** `answerOf` returns undefined for who was not asked or did not answer. Where there is nobody to ask, nothing is known. */
export function gatherReplies<T>(names: readonly string[], answerOf: (name: string) => T | undefined): Replies<T> {
  const all = names.map((name) => [name, answerOf(name)] as const)
  const answers = new Map(all.flatMap(([name, answer]) => (answer === undefined ? [] : [[name, answer] as const])))
  return { isComplete: names.length > 0 && answers.size === names.length, answers }
}
