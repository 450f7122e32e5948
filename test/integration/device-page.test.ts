/** The page of the examples that stands in for people's phones. */
import { expect } from 'chai'
import { decodeJwt } from 'jose'
import { type ExampleOp, startOp } from '../../examples/support/op.ts'

describe('the device page', () => {
  let op: ExampleOp

  beforeEach(async () => {
    op = await startOp({})
  })
  afterEach(() => op.close())

  async function post(path: string, form: Record<string, string>): Promise<Record<string, unknown>> {
    const { clientID: client_id, clientSecret: client_secret } = op.clientOptions
    const authorization = `Basic ${btoa(`${client_id}:${encodeURIComponent(client_secret).replaceAll('%20', '+')}`)}`
    const body = new URLSearchParams(form)
    const response = await fetch(op.issuer + path, { method: 'POST', headers: { authorization }, body })
    return (await response.json()) as Record<string, unknown>
  }

  async function ask(form: Record<string, string> = {}): Promise<string> {
    const answer = await post('/backchannel', { scope: 'openid', login_hint: 'alice', ...form })
    return String(answer['auth_req_id'])
  }

  const tokens = (auth_req_id: string) =>
    post('/token', { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id })

  it('shows requests with everything escaped, and decides them', async () => {
    const authReqId = await ask({ binding_message: '<b>"&\'' })
    const shown = await (await fetch(op.devicePage)).text()
    expect(shown).to.include('&lt;b&gt;&quot;&amp;&#39;').and.not.include('<b>')
    expect(shown).to.include(`action="/device/requests/${authReqId}/approve"`)
    const listed = await (await fetch(`${op.devicePage}/requests`)).json()
    expect(listed).to.deep.equal([...op.requests.values()])

    const approve = `${op.devicePage}/requests/${authReqId}/approve`
    const foreign = await fetch(approve, { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } })
    expect(foreign.status).to.equal(403)
    expect(op.requests.size).to.equal(1)
    const approved = await fetch(approve, { method: 'POST' })
    expect(await approved.text()).to.include('Approved.')
    const { id_token: idToken } = await tokens(authReqId)
    expect(decodeJwt(String(idToken))).to.have.property('auth_time')
    expect(await (await fetch(approve, { method: 'POST' })).text()).to.include('decided elsewhere')
  })

  it('denies', async () => {
    const authReqId = await ask()
    await fetch(`${op.devicePage}/requests/${authReqId}/deny`, { method: 'POST' })
    expect(await tokens(authReqId)).to.have.property('error', 'access_denied')
  })
})
