/** All benchmarks, by the names that the command takes. */
import type { Benchmark } from './harness.ts'

type Loaded = Promise<{ readonly benchmark: Benchmark }>

/** In the order of the results. */
export const benchmarks: Readonly<Record<string, () => Loaded>> = {
  poll: () => import('./poll.ts'),
  ping: () => import('./ping.ts'),
  latency: () => import('./latency.ts'),
  flat: () => import('./flat.ts'),
  login: () => import('./login.ts'),
  capacity: () => import('./capacity.ts'),
  validation: () => import('./validation.ts'),
  memory: () => import('./memory.ts'),
  waiting: () => import('./waiting.ts'),
}
