import type { Request } from './request.ts'
export async function report(_: Request): Promise<number> {
  return 0
}
