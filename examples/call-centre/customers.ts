/** Who is on the line, and what is kept about them. */

export interface Customer {
  /** As the OP knows them. */
  readonly sub: string
  readonly email: string
  readonly name: string
  readonly phone: string
  readonly waiting: string
  /** What only a verified customer's agent may see. */
  readonly record: Readonly<Record<string, string>>
}

const all: readonly Customer[] = [
  {
    sub: 'alice',
    email: 'alice@example.com',
    name: 'Alice Anders',
    phone: '+49 30 555 0101',
    waiting: '4 min',
    record: { Contract: 'Fibre 500, since 2021', Balance: '12.40 EUR', Note: 'Asked for a new router.' },
  },
  {
    sub: 'bob',
    email: 'bob@example.com',
    name: 'Bob Brandt',
    phone: '+49 40 555 0102',
    waiting: '2 min',
    record: { Contract: 'Mobile L, since 2019', Balance: '−31.00 EUR', Note: 'Moves house in May.' },
  },
  {
    sub: 'carol',
    email: 'carol@example.com',
    name: 'Carol Costa',
    phone: '+49 89 555 0103',
    waiting: '1 min',
    record: { Contract: 'Fibre 100, since 2016', Balance: '0.00 EUR', Note: 'Prefers letters.' },
  },
]

/** By `sub`. */
export const customers: ReadonlyMap<string, Customer> = new Map(
  all.map((customer) => [customer.sub, customer]),
)
