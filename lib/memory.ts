/**
 * What a process remembers about some ids, for a while and in bounded room. Knows nothing of what they mean.
 */
export class Memory<Value> {
  readonly #entries = new Map<string, { readonly value: Value; readonly until: number }>()
  readonly #most: number

  /** The oldest entry goes when there would be more than `most`. */
  constructor(most: number) {
    this.#most = most
  }

  get(id: string, now: number): Value | undefined {
    const entry = this.#entries.get(id)
    return entry && entry.until > now ? entry.value : undefined
  }

  set(id: string, value: Value, until: number, now: number): void {
    this.#entries.delete(id)
    for (const [other, entry] of this.#entries) {
      if (entry.until > now && this.#entries.size < this.#most) break
      this.#entries.delete(other)
    }
    this.#entries.set(id, { value, until })
  }

  delete(id: string): void {
    this.#entries.delete(id)
  }
}
