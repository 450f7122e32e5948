/**
 * The options of the login page, and their checks. Knows nothing of how the page looks.
 */

import type { Request } from 'express'
import { invalidOption } from '../errors.ts'
import { checkOption, func, object, type Parse, refuseUnknownOptions, text } from '../option-checks.ts'
import { defaultTexts, type LoginPageTexts } from './page-texts.ts'
import { returnToOf } from './return-to.ts'

/** How the login page looks and speaks. */
export interface LoginPageOptions {
  /** The heading of the form, and part of the window's title. @default 'Sign in' */
  readonly title?: string | undefined
  /** An image above everything, decorative: a path of this origin, as browsers see it, or a `data:image/` URL. */
  readonly logo?: string | undefined
  /** The language of the texts (BCP 47). @default 'en' */
  readonly lang?: string | undefined
  /** Where to go after a login that does not say: a path of this app. @default '/' */
  readonly returnTo?: string | undefined
  /** Other words than the English ones, all or some; a function may look at the request. */
  readonly texts?: Partial<LoginPageTexts> | ((req: Request) => Partial<LoginPageTexts>) | undefined
}

/** Checked, with every default in place. */
export interface ResolvedLoginPage {
  readonly title: string
  readonly logo: string | undefined
  readonly lang: string
  readonly returnTo: string
  texts(req: Request): LoginPageTexts
}

const optionNames = ['title', 'logo', 'lang', 'returnTo', 'texts']

/** @throws TypeError `ERR_CIBA_INVALID_OPTION`. */
export function resolveLoginPage(value: unknown): ResolvedLoginPage | false {
  if (value === false) return false
  const given: LoginPageOptions = checkOption('loginPage', value, object, 'an object, or false') ?? {}
  refuseUnknownOptions(given, optionNames, 'loginPage.')
  const { title, logo, lang, returnTo, texts } = given
  return Object.freeze({
    title: checkOption('loginPage.title', title, text, 'a non-empty string') ?? 'Sign in',
    logo: checkOption('loginPage.logo', logo, image, 'a path such as "/logo.svg", or a data:image/ URL'),
    lang: checkOption('loginPage.lang', lang, language, 'a language tag such as "en" or "pt-BR"') ?? 'en',
    returnTo: checkOption('loginPage.returnTo', returnTo, returnToOf, 'a path such as "/"') ?? '/',
    texts: resolveTexts(texts),
  })
}

function resolveTexts(value: unknown): ResolvedLoginPage['texts'] {
  const make = func<(req: Request) => unknown>(value)
  if (make) return (req) => textsOf(make(req))
  const texts = textsOf(value)
  return () => texts
}

function textsOf(value: unknown): LoginPageTexts {
  const given = checkOption('loginPage.texts', value, object, 'an object of texts, or a function') ?? {}
  refuseUnknownOptions(given, Object.keys(defaultTexts), 'loginPage.texts.')
  const isText: Parse<string> = (one) => (typeof one === 'string' ? one : undefined)
  const own = Object.entries(given).filter(([name, one]) => {
    return checkOption(`loginPage.texts.${name}`, one, isText, 'a string') !== undefined
  })
  return Object.freeze({ ...defaultTexts, ...Object.fromEntries(own) })
}

const image: Parse<string> = (value) => {
  if (typeof value !== 'string') return undefined
  return /^data:image\/[\w.+-]+[;,][ -~]*$/i.test(value) ? value : returnToOf(value)
}

const language: Parse<string> = (value) => {
  try {
    return typeof value === 'string' ? Intl.getCanonicalLocales(value)[0] : undefined
  } catch {
    return undefined
  }
}

/** A login page that cannot do anything is a mistake, if it was asked for. */
export function refuseUselessPage(): never {
  throw invalidOption('routes.login', 'needs "routes.start" and "routes.poll", which are false')
}
