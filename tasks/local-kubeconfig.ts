import type { Target } from '../lib/graph.ts'
export const localKubeconfigTargets = (): Target[] => []
