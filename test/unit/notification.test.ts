import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import fc from 'fast-check'
import { deriveKeys } from '../../lib/keys.ts'
import { notificationTokens, parsePing } from '../../lib/protocol/notification.ts'

const tokens = notificationTokens(deriveKeys(['the first secret']))
const newId = () => randomBytes(16).toString('base64url')

/** The conformance suite's estimate: bits of Shannon entropy per character, times the length. */
function shannonBits(text: string): number {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  const perCharacter = [...counts.values()].reduce((sum, count) => {
    const share = count / text.length
    return sum - share * Math.log2(share)
  }, 0)
  return perCharacter * text.length
}

describe('notificationTokens()', () => {
  it('makes tokens that fit the grammar, the length and the entropy, a thousand times [REQ-4]', () => {
    const seen = new Set<string>()
    for (let draw = 0; draw < 1000; draw++) {
      const token = tokens.issue(newId())
      expect(token).to.match(/^[A-Za-z0-9\-._~+/]+=*$/)
      expect(token.length).to.be.within(43, 1024)
      expect(shannonBits(token)).to.be.above(96)
      // The half that is secret passes on its own.
      expect(shannonBits(token.slice(token.indexOf('.') + 1))).to.be.above(96)
      seen.add(token)
    }
    expect(seen.size).to.equal(1000)
  })

  it('has an estimate of entropy that 12 bytes do not pass [REQ-4]', () => {
    expect(shannonBits('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')).to.equal(0)
    expect(shannonBits(randomBytes(12).toString('base64url'))).to.be.below(96)
  })

  it('has 32 bytes behind the dot that say nothing without the secret [REQ-4]', () => {
    const id = newId()
    const [shown, mac = ''] = tokens.issue(id).split('.')
    expect(shown).to.equal(id)
    expect(Buffer.from(mac, 'base64url')).to.have.length(32)
    expect(notificationTokens(deriveKeys(['another secret'])).issue(id)).not.to.equal(`${id}.${mac}`)
  })

  it('makes the same token on every instance [SEC-10]', () => {
    const id = newId()
    expect(notificationTokens(deriveKeys(['the first secret'])).issue(id)).to.equal(tokens.issue(id))
  })

  it('takes tokens of a secret that was replaced, and makes none with it', () => {
    const rotated = notificationTokens(deriveKeys(['the second secret', 'the first secret']))
    const id = newId()
    expect(rotated.verify(`Bearer ${tokens.issue(id)}`)).to.equal(id)
    expect(tokens.verify(`Bearer ${rotated.issue(id)}`)).to.equal(undefined)
    expect(rotated.verify(`Bearer ${rotated.issue(id)}`)).to.equal(id)
  })

  const id = newId()
  const token = tokens.issue(id)
  const [, mac = ''] = token.split('.')
  const last = mac.slice(-1)
  /** Decodes to the same bytes: the last character of 43 has two bits to spare. */
  const twin = String.fromCharCode(last.charCodeAt(0) + 1)

  for (const header of [`Bearer ${token}`, `bearer ${token}`, `BEARER    ${token}`]) {
    it(`takes ${header.slice(0, 12)}… [PING-2]`, () => {
      expect(tokens.verify(header)).to.equal(id)
    })
  }

  const refused: [string, string | undefined][] = [
    ['no header', undefined],
    ['an empty header', ''],
    ['a scheme alone', 'Bearer'],
    ['a scheme and a space', 'Bearer '],
    ['Basic', `Basic ${token}`],
    ['no space', `Bearer${token}`],
    ['a tab', `Bearer\t${token}`],
    ['a space before', ` Bearer ${token}`],
    ['a space behind', `Bearer ${token} `],
    ['a comma', `Bearer ${token},`],
    ['two tokens', `Bearer ${token} ${token}`],
    ['two headers in one', `Bearer ${token}, Bearer ${token}`],
    ['a line break', `Bearer ${token}\n`],
    ['padding', `Bearer ${token}=`],
    ['one character more', `Bearer ${token}1`],
    ['one character less', `Bearer ${token.slice(0, -1)}`],
    ['another spelling of the same bytes', `Bearer ${token.slice(0, -1)}${twin}`],
    ['a third part', `Bearer ${token}.x`],
    ['an empty third part', `Bearer ${token}.`],
    ['no mac', `Bearer ${id}.`],
    ['no dot', `Bearer ${id}`],
    ['no id', `Bearer .${mac}`],
    ["another id's mac", `Bearer ${newId()}.${mac}`],
    ['an id that is longer', `Bearer ${id}A.${mac}`],
    ['an endless header', `Bearer ${' '.repeat(256)}${token}`],
    ['an endless id', `Bearer ${tokens.issue('x'.repeat(250))}`],
  ]
  for (const [what, header] of refused) {
    it(`refuses ${what} [PING-2, PING-3]`, () => {
      expect(tokens.verify(header)).to.equal(undefined)
    })
  }

  it('takes no token in which one character was changed [PING-3]', () => {
    const alphabet = [...'ABCXYZabcxyz0189-_.~+/=']
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.constantFrom(...alphabet), (at, character) => {
        fc.pre(token[at] !== character)
        const changed = token.slice(0, at) + character + token.slice(at + 1)
        expect(tokens.verify(`Bearer ${changed}`)).to.equal(undefined)
      }),
    )
  })
})

describe('parsePing()', () => {
  it('reads auth_req_id, and nothing else [PING-1]', () => {
    expect(parsePing({ auth_req_id: 'id', x: 1, access_token: 'y' })).to.equal('id')
  })

  const bodies: unknown[] = [
    undefined,
    null,
    'id',
    5,
    [],
    ['id'],
    {},
    { auth_req_id: 5 },
    { auth_req_id: null },
    { auth_req_id: '' },
    { auth_req_id: ['id'] },
    { auth_req_id: 'x'.repeat(4097) },
  ]
  for (const body of bodies) {
    it(`finds none in ${(JSON.stringify(body) ?? 'nothing').slice(0, 30)} [PING-15]`, () => {
      expect(parsePing(body)).to.equal(undefined)
    })
  }
})
