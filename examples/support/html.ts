/** Safe HTML for the example pages: a template tag that escapes what it is given, and the style they share. */
import { readFileSync } from 'node:fs'

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

/** A file beside `base` (an `import.meta.url`), as it is: for styles and scripts written by us. */
export function inlineFile(name: string, base: string): Html {
  return new Html(readFileSync(new URL(name, base), 'utf8'))
}

/** A whole page in the shared style, as wide as a phone. */
export function page(title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${inlineFile('style.css', import.meta.url)}</style>
</head>
<body>
${body}
</body>
</html>
`.text
}
