/** Safe HTML for the example pages: a template tag that escapes what it is given, and the frame around every page. */

/** Markup that needs no escaping any more. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toString(): string {
    return this.text
  }
}

export type HtmlValue = string | number | Html | readonly HtmlValue[]

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Escapes every value that is not itself `Html`; arrays are joined. */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(String.raw({ raw: parts }, ...values.map(render)))
}

function render(value: HtmlValue): string {
  if (value instanceof Html) return value.text
  if (Array.isArray(value)) return value.map(render).join('')
  return String(value).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}

export interface Page {
  readonly title: string
  readonly body: Html
  /** The name of a script in the example's folder `public`. */
  readonly script?: string
  /** Where `assets()` is mounted. @default '/assets' */
  readonly assets?: string
}

/** A whole page in the style that the examples share. */
export function page({ title, body, script, assets = '/assets' }: Page): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${assets}/style.css">
<title>${title}</title>
${script === undefined ? [] : html`<script type="module" src="${assets}/${script}"></script>`}
</head>
<body>
${body}
</body>
</html>
`.text
}

/** What stands above the pages of somebody who is signed in. */
export function signedInBar(where: string, who: string): Html {
  return html`<header class="bar">
<p><strong>${where}</strong><br><span class="quiet">Signed in as ${who}</span></p>
<form method="post" action="/ciba/logout"><button class="small">Sign out</button></form>
</header>`
}
