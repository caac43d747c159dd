/** Of which Kubernetes the stand-in has the habits. */
import { readFileSync } from 'node:fs'

const { standIn } = JSON.parse(readFileSync(new URL('../versions.json', import.meta.url), 'utf8'))

/** `1.36`. What differs in an older one is where `isSince` is called. */
export const version: string = standIn

/** Whether it is that release, or a later one. */
export function isSince(release: string): boolean {
  const minor = (text: string) => Number(text.split('.')[1])
  return minor(version) >= minor(release)
}

/** What a component's metrics say of itself: whether client-go reads a CA again that a kubeconfig names by file. */
export function features(): string {
  return isSince('1.36') ? 'kubernetes_feature_enabled{name="ClientsAllowCARotation",stage="BETA"} 1\n' : ''
}
