/** The OP changes its signing keys: what is fetched again, and how often [TOK-22]. */
import { expect } from 'chai'
import { type Scene, scenes } from '../support/scenes.ts'

const refused = { status: 'failed', error: 'invalid_token_response' }
const complete = { status: 'complete' }

describe("the OP's keys", () => {
  const set = scenes()
  const { now } = Date

  afterEach(() => {
    Date.now = now
  })

  /** All clocks go on from there: the OP's and ours. */
  const pass = (seconds: number) => {
    const before = Date.now
    Date.now = () => before() + seconds * 1000
  }
  const fetched = ({ op }: Scene) => op.callsTo('jwks').length
  const loggedIn = (scene: Scene) => scene.login(() => scene.op.tokens())

  it('are fetched once for many logins [TOK-22]', async () => {
    const scene = await set()
    for (let count = 0; count < 3; count++) expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(1)
  })

  it('may be several: a new one that was published in time needs no other fetch [TOK-22]', async () => {
    const scene = await set()
    scene.op.keys = { published: [1, 2], signing: 1 }
    expect(await loggedIn(scene)).to.include(complete)
    scene.op.keys = { published: [1, 2], signing: 2 }
    expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(1)
  })

  it('are fetched again for a key that is not known, once they are a minute old [TOK-22]', async () => {
    const scene = await set()
    expect(await loggedIn(scene)).to.include(complete)
    scene.op.keys = { published: [2], signing: 2 }
    pass(61)
    expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(2)
  })

  it('are not fetched again and again for keys that do not exist [TOK-22, SEC-13]', async () => {
    const scene = await set()
    for (let count = 0; count < 3; count++) {
      expect(await scene.login(() => scene.op.tokens({ header: { kid: `${count}` } }))).to.include(refused)
    }
    expect(fetched(scene), 'once more, and not again within five seconds').to.equal(2)
    expect(scene.op.callsTo('token')).to.have.length(3)
  })

  it('cost nobody the login when they change within the minute, and a burst of logins one request [TOK-22]', async () => {
    const scene = await set()
    expect(await loggedIn(scene)).to.include(complete)
    scene.op.keys = { published: [2], signing: 2 }
    for (let count = 0; count < 3; count++) expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(2)
    scene.op.keys = { published: [3], signing: 3 }
    pass(6)
    expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(3)
  })

  it('are dropped after five minutes: a key that was withdrawn verifies nothing any more [TOK-9, TOK-22]', async () => {
    const scene = await set()
    expect(await loggedIn(scene)).to.include(complete)
    scene.op.keys = { published: [2], signing: 1 }
    pass(301)
    expect(await loggedIn(scene)).to.include(refused)
    scene.op.keys = { published: [2], signing: 2 }
    expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(3)
  })

  it('are tried again for a while when they cannot be had: the tokens came already [TOK-22]', async () => {
    const scene = await set()
    scene.op.onJwks({ status: 503 }, { status: 503 }, { status: 503 })
    expect(await loggedIn(scene)).to.include(complete)
    expect(fetched(scene)).to.equal(4)
  })

  it('verify nothing when two fit and the token does not say which [TOK-22]', async () => {
    const scene = await set()
    scene.op.keys = { published: [1, 2], signing: 1 }
    const nameless = { header: { kid: undefined } }
    expect(await scene.login(() => scene.op.tokens(nameless))).to.include(refused)
    scene.op.keys = { published: [1], signing: 1 }
    pass(301)
    expect(await scene.login(() => scene.op.tokens(nameless))).to.include(complete)
  })
})
