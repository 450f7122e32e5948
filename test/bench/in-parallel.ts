/** Does the same with many, so many at a time. */
export async function inParallel<One>(
  all: Iterable<One>,
  atATime: number,
  act: (one: One) => Promise<unknown>,
): Promise<void> {
  const queue = all[Symbol.iterator]()
  const work = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) await act(next.value)
  }
  await Promise.all(Array.from({ length: atATime }, work))
}
