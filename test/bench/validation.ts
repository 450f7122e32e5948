/**
 * What our checks of a token response cost beyond those that oauth4webapi makes anyway: everything that a login can ask for
 * is expected, and the signature is verified on both sides.
 */
import { type BenchEnv, type Benchmark, type Figure, median, ratios, sideBySide } from './harness.ts'
import type { ValidationConfig, ValidationRun } from './validation-subject.ts'

export const benchmark: Benchmark = {
  name: 'validation',
  run: async (env) => [await compare(env, 'ES256'), await compare(env, 'RS256')],
}

async function compare(env: BenchEnv, alg: ValidationConfig['alg']): Promise<Figure> {
  const subject = await env.spawn('validation-subject', { alg } satisfies ValidationConfig)
  const count = env.quick ? 500 : 3_000
  const run = async (who: ValidationRun['who']) => {
    await subject.cpu()
    await subject.ask('run', { who, count } satisfies ValidationRun)
    return (await subject.cpu()) / count
  }
  for (let turn = 0; turn < (env.quick ? 2 : 4); turn++) {
    await run('ours')
    await run('theirs')
  }
  // They are short: more rounds cost little.
  const { ours, theirs } = await sideBySide(
    env.rounds * 3,
    () => run('ours'),
    () => run('theirs'),
  )
  await subject.stop()
  return {
    name: `validation of a token response, ${alg}, of oauth4webapi`,
    goal: { atMost: 1.1 },
    rounds: ratios(ours, theirs),
    detail: `${median(ours).toFixed(0)} µs to ${median(theirs).toFixed(0)} µs of CPU`,
  }
}
