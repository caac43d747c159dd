import type { Target } from '../lib/graph.ts'
export const deployTargets = (): Target[] => []
