/**
 * A transaction store that several processes share: a server that keeps the records in its memory, and the store that
 * asks it over a socket, one line of JSON for each message. Knows nothing of what the records mean.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { MemoryTransactionStore, type StoredRecord, type TransactionStore } from '../../lib/index.ts'

type Question =
  | { readonly ask: 'read'; readonly id: string }
  | { readonly ask: 'write'; readonly record: StoredRecord; readonly expectedVersion: number }

type Line =
  | { readonly number: number; readonly result?: StoredRecord | boolean; readonly fault?: string }
  /** Goes to everybody: what a process has begun to watch can then not be missed. */
  | { readonly changed: string }

export interface StoreServer {
  readonly port: number
  close(): Promise<void>
}

export async function startStoreServer(): Promise<StoreServer> {
  const store = new MemoryTransactionStore()
  const sockets = new Set<Socket>()
  const send = (socket: Socket, line: Line) => {
    if (socket.writable) socket.write(`${textOf(line)}\n`)
  }
  async function answer(question: Question): Promise<StoredRecord | boolean | undefined> {
    if (question.ask === 'read') return store.read(question.id)
    const { record, expectedVersion } = question
    const isWritten = await store.write(record, expectedVersion)
    if (isWritten) for (const socket of sockets) send(socket, { changed: record.id })
    return isWritten
  }
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    linesOf(socket, (line) => {
      const { number, ...question } = JSON.parse(line) as Question & { readonly number: number }
      answer(question).then(
        (result) => send(socket, { number, ...(result !== undefined && { result }) }),
        (fault: Error) => send(socket, { number, fault: fault.message }),
      )
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
      store.close()
    },
  }
}

/** Newer versions of Node end a line at U+2028 and U+2029, too. */
function textOf(message: object): string {
  return JSON.stringify(message).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
}

function linesOf(socket: Socket, listener: (line: string) => void): void {
  const lines = createInterface(socket).on('line', listener)
  // Whoever is at the other end has been killed; lines pass it on.
  for (const source of [socket, lines]) source.on('error', () => {})
}

interface Asked {
  resolve(result: StoredRecord | boolean | undefined): void
  reject(fault: Error): void
}

/** The store of one process. Its connection keeps the process running until `close()`. */
export class RemoteStore implements TransactionStore {
  readonly #socket: Socket
  readonly #asked = new Map<number, Asked>()
  readonly #listeners = new Map<string, Set<() => void>>()
  #number = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.once('close', () => {
      for (const { reject } of this.#asked.values()) reject(new Error('the store server is gone'))
      this.#asked.clear()
    })
    linesOf(socket, (line) => this.#take(JSON.parse(line) as Line))
  }

  static async connect(port: number): Promise<RemoteStore> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    return new RemoteStore(socket)
  }

  async read(id: string): Promise<StoredRecord | undefined> {
    return (await this.#ask({ ask: 'read', id })) as StoredRecord | undefined
  }

  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    return (await this.#ask({ ask: 'write', record, expectedVersion })) as boolean
  }

  watch(id: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set()
    this.#listeners.set(id, listeners.add(listener))
    return () => listeners.delete(listener)
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return
    this.#socket.end()
    await once(this.#socket, 'close')
  }

  #ask(question: Question): Promise<StoredRecord | boolean | undefined> {
    this.#number += 1
    const number = this.#number
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) return reject(new Error('the store is closed'))
      this.#asked.set(number, { resolve, reject })
      this.#socket.write(`${textOf({ number, ...question })}\n`)
    })
  }

  #take(line: Line): void {
    if ('changed' in line) {
      for (const listener of this.#listeners.get(line.changed) ?? []) listener()
      return
    }
    const asked = this.#asked.get(line.number)
    this.#asked.delete(line.number)
    if (line.fault !== undefined) asked?.reject(new Error(line.fault))
    else asked?.resolve(line.result)
  }
}
