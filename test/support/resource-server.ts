/**
 * A protected resource beside the OP: refuses what is not bound as it should be, and otherwise answers what it saw.
 * Knows nothing of clients.
 */
import { createHash, type X509Certificate } from 'node:crypto'
import type { IncomingMessage, RequestListener } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { calculateJwkThumbprint, createLocalJWKSet, EmbeddedJWK, jwtVerify } from 'jose'
import type { JWK, Provider } from 'oidc-provider'
import { presentedCertificate } from './full-op-configuration.ts'
import { publicKeys } from './op-keys.ts'

export interface ResourceServerOptions {
  readonly issuer: string
  provider(): Provider
  /** The OP's, for access tokens that are JWTs. */
  keys(): readonly JWK[]
  /** DPoP proofs have to contain it. */
  readonly nonce: string | undefined
}

/** What a request that is let through is answered. */
export interface ResourceAnswer {
  readonly method: string
  readonly scheme: 'bearer' | 'dpop'
  /** What the token is bound to. */
  readonly binding: 'none' | 'dpop' | 'certificate'
  readonly format: 'opaque' | 'jwt'
  readonly sub?: string
  readonly clientId?: string
  readonly scope?: string
  readonly audience?: string | readonly string[]
  readonly authorizationDetails?: readonly object[]
  /** As received. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

interface Token extends Pick<ResourceAnswer, 'format'> {
  readonly seen: Pick<ResourceAnswer, 'sub' | 'clientId' | 'scope' | 'audience' | 'authorizationDetails'>
  readonly jkt?: string | undefined
  readonly x5t?: string | undefined
}

class Refusal extends Error {
  readonly error: 'invalid_token' | 'use_dpop_nonce'

  constructor(message: string, error: Refusal['error'] = 'invalid_token') {
    super(message)
    this.error = error
  }
}

export function resourceServer(options: ResourceServerOptions): RequestListener {
  const proofs = new Set<string>()

  async function answer(req: IncomingMessage): Promise<ResourceAnswer> {
    const [scheme = '', value = ''] = (req.headers.authorization ?? '').split(' ')
    const token = await findToken(options, value)
    const presented = scheme.toLowerCase()
    if (presented !== 'bearer' && presented !== 'dpop') throw new Refusal('no access token')
    if (presented !== (token.jkt === undefined ? 'bearer' : 'dpop')) throw new Refusal('wrong scheme')
    if (token.jkt !== undefined) await checkProof(req, value, token.jkt, options.nonce, proofs)
    const certificate = presentedCertificate(req)
    if (token.x5t !== undefined && token.x5t !== thumbprint(certificate)) {
      throw new Refusal('the certificate is not the one that the token is bound to')
    }
    let body = ''
    for await (const chunk of req) body += chunk
    return {
      method: String(req.method),
      scheme: presented,
      binding: token.jkt !== undefined ? 'dpop' : token.x5t !== undefined ? 'certificate' : 'none',
      format: token.format,
      ...token.seen,
      headers: req.headers as Record<string, string>,
      body,
    }
  }

  return (req, res) => {
    const json = { 'content-type': 'application/json' }
    answer(req).then(
      (seen) => res.writeHead(200, json).end(JSON.stringify(seen)),
      (cause: Error) => {
        const { error, message } = cause instanceof Refusal ? cause : new Refusal(cause.message)
        const scheme = req.headers['dpop'] === undefined ? 'Bearer' : 'DPoP'
        res.setHeader('WWW-Authenticate', `${scheme} error="${error}", error_description="${message}"`)
        if (options.nonce !== undefined) res.setHeader('DPoP-Nonce', options.nonce)
        res.writeHead(401, json).end(JSON.stringify({ error, error_description: message }))
      },
    )
  }
}

/** By the provider's own records, or by its signature. */
async function findToken({ issuer, provider, keys }: ResourceServerOptions, value: string): Promise<Token> {
  if (value.split('.').length === 3) {
    const keySet = createLocalJWKSet({ keys: publicKeys(keys()) as never })
    const { payload } = await jwtVerify(value, keySet, { issuer, typ: 'at+jwt' })
    const { sub, client_id: clientId, scope, aud: audience, authorization_details: details } = payload
    const { jkt, 'x5t#S256': x5t } = (payload['cnf'] ?? {}) as Record<string, string>
    const seen = { sub, clientId, scope, audience, authorizationDetails: details } as Token['seen']
    return { format: 'jwt', seen, jkt, x5t }
  }
  const token = await provider().AccessToken.find(value)
  if (!token?.isValid) throw new Refusal('unknown or expired access token')
  const { accountId: sub, clientId, scope, aud, rar } = token
  const seen = { sub, clientId, scope, audience: aud, authorizationDetails: rar } as Token['seen']
  return { format: 'opaque', seen, jkt: token['jkt'], x5t: token['x5t#S256'] }
}

/** RFC 9449, section 4.3. */
async function checkProof(
  req: IncomingMessage,
  accessToken: string,
  jkt: string,
  nonce: string | undefined,
  proofs: Set<string>,
): Promise<void> {
  const { payload, protectedHeader } = await jwtVerify(String(req.headers['dpop']), EmbeddedJWK, {
    typ: 'dpop+jwt',
    algorithms: ['ES256', 'ES384', 'ES512', 'PS256', 'RS256', 'EdDSA', 'Ed25519'],
    maxTokenAge: 60,
  })
  const origin = `${(req.socket as Partial<TLSSocket>).encrypted ? 'https' : 'http'}://${req.headers.host}`
  const expected = { htm: req.method, htu: new URL(req.url?.split('?', 1)[0] ?? '/', origin).href }
  if (payload['htm'] !== expected.htm || payload['htu'] !== expected.htu)
    throw new Refusal('wrong htm or htu')
  if (payload['ath'] !== sha256(accessToken)) throw new Refusal('wrong ath')
  if ((await calculateJwkThumbprint(protectedHeader.jwk as object)) !== jkt) throw new Refusal('wrong key')
  if (typeof payload.jti !== 'string' || proofs.has(payload.jti)) throw new Refusal('proof used before')
  if (payload['nonce'] !== nonce) throw new Refusal('wrong nonce', 'use_dpop_nonce')
  proofs.add(payload.jti)
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('base64url')

const thumbprint = (certificate: X509Certificate | undefined) => certificate && sha256(certificate.raw)
