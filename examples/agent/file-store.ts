/**
 * Keeps transactions in a folder, so that a process goes on where another was killed. For jobs on one machine that
 * have no database at hand: every version of a record is a file of its own and never changes; the newest one counts.
 * Knows nothing of what the records mean.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoredRecord, TransactionStore } from '../../lib/index.ts'

/** Between two looks for what other processes have written. */
const LOOK_EVERY_MS = 200
const SWEEP_EVERY_MS = 60_000
/** A folder without a version may be one that somebody is about to write into. */
const EMPTY_FOR_MS = 10 * 60_000

interface Watcher {
  readonly id: string
  version: number
  readonly listener: () => void
}

export class FileTransactionStore implements TransactionStore {
  readonly #folder: string
  readonly #watchers = new Set<Watcher>()
  #looking: NodeJS.Timeout | undefined
  #sweptAt = 0

  /** @param folder - of this store alone; it is made if it does not exist, and nobody else may read it. */
  constructor(folder: string) {
    this.#folder = folder
  }

  async read(id: string): Promise<StoredRecord | undefined> {
    const newest = await this.#newest(id)
    return newest && newest.purgeAt > Date.now() ? newest : undefined
  }

  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    const newest = await this.#newest(record.id)
    const isAlive = newest !== undefined && newest.purgeAt > Date.now()
    if ((isAlive ? newest.version : 0) !== expectedVersion) return false
    if (newest && !isAlive) await this.#forget(record.id)
    const place = this.#place(record.id)
    if (expectedVersion === 0) await mkdir(place, { recursive: true, mode: 0o700 })
    await this.#sweep()
    return publish(place, record)
  }

  watch(id: string, listener: () => void): () => void {
    const watcher = { id, listener, version: newestOf(namesIn(this.#place(id))) }
    this.#watchers.add(watcher)
    this.#looking ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
    return () => {
      this.#watchers.delete(watcher)
      if (this.#watchers.size === 0) this.close()
    }
  }

  close(): void {
    this.#watchers.clear()
    clearInterval(this.#looking)
    this.#looking = undefined
  }

  /** Ids differ in case, and not every file system does. */
  #place(id: string): string {
    return join(this.#folder, Buffer.from(id).toString('hex'))
  }

  async #newest(id: string): Promise<StoredRecord | undefined> {
    const place = this.#place(id)
    const version = newestOf(await ifThere(readdir(place), []))
    if (version === 0) return undefined
    const text = await ifThere(readFile(join(place, String(version)), 'utf8'), undefined)
    return text === undefined ? undefined : (JSON.parse(text) as StoredRecord)
  }

  /** In one step for everybody: a record that is half gone would be an older version of itself. */
  async #forget(id: string): Promise<void> {
    const gone = join(this.#folder, `.gone-${randomUUID()}`)
    await ifThere(rename(this.#place(id), gone), undefined)
    await rm(gone, { recursive: true, force: true })
  }

  #look(): void {
    for (const watcher of [...this.#watchers]) {
      const version = newestOf(namesIn(this.#place(watcher.id)))
      if (version === watcher.version) continue
      watcher.version = version
      watcher.listener()
    }
  }

  /** Drops what has expired, and what processes that were killed have left behind. */
  async #sweep(): Promise<void> {
    if (Date.now() - this.#sweptAt < SWEEP_EVERY_MS) return
    this.#sweptAt = Date.now()
    for (const name of await ifThere(readdir(this.#folder), [])) {
      const place = join(this.#folder, name)
      if (name.startsWith('.gone-')) await rm(place, { recursive: true, force: true })
      else if (await isOver(place)) await this.#forget(Buffer.from(name, 'hex').toString())
    }
  }
}

/** A link exists or it does not: no reader sees half a record, and of all who write a version one wins. */
async function publish(place: string, record: StoredRecord): Promise<boolean> {
  const draft = join(place, `.draft-${randomUUID()}`)
  try {
    await writeFile(draft, JSON.stringify(record), { mode: 0o600, flag: 'wx' })
    await link(draft, join(place, String(record.version)))
    return true
  } catch (error) {
    // Somebody was first, or has purged the record meanwhile.
    if (isError(error, 'EEXIST') || isError(error, 'ENOENT')) return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}

async function isOver(place: string): Promise<boolean> {
  const version = newestOf(await ifThere(readdir(place), []))
  if (version === 0) {
    const { mtimeMs } = (await ifThere(stat(place), undefined)) ?? { mtimeMs: Date.now() }
    return Date.now() - mtimeMs > EMPTY_FOR_MS
  }
  const text = await ifThere(readFile(join(place, String(version)), 'utf8'), undefined)
  return text !== undefined && (JSON.parse(text) as StoredRecord).purgeAt <= Date.now()
}

/** 0: there is none. Drafts are not numbers. */
function newestOf(names: readonly string[]): number {
  return Math.max(0, ...names.map(Number).filter(Number.isSafeInteger))
}

/** For hints alone: what cannot be read has not changed. */
function namesIn(place: string): string[] {
  try {
    return readdirSync(place)
  } catch {
    return []
  }
}

async function ifThere<Found, Else>(finding: Promise<Found>, otherwise: Else): Promise<Found | Else> {
  return finding.catch((error: unknown) => {
    if (isError(error, 'ENOENT')) return otherwise
    throw error
  })
}

function isError(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code
}
