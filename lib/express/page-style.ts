/**
 * How the login page looks: light and dark, from 320 pixels on, with and without motion, in forced colours. Knows the
 * class names of the views.
 */

/** The whole style sheet; without inline styles, so that a strict policy can name it by its nonce. */
export const style: string = `
:root {
  color-scheme: light dark;
  --page: #edf0f5;
  --card: #fff;
  --text: #171b26;
  --quiet: #545c6e;
  --line: #d8dde7;
  --field: #7b8496;
  --accent: #1d4ed8;
  --accent-strong: #1a3fae;
  --on-accent: #fff;
  --tint: #eff4ff;
  --good: #13693a;
  --bad: #b42318;
  --bad-tint: #fef1f0;
  --shadow: 0 1px 2px #10182812, 0 12px 32px #1018281a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1117;
    --card: #181c25;
    --text: #eef1f7;
    --quiet: #a4adbf;
    --line: #323948;
    --field: #7d879b;
    --accent: #9db8ff;
    --accent-strong: #bccfff;
    --on-accent: #0c1c4d;
    --tint: #1f2739;
    --good: #76d79c;
    --bad: #ffb0a8;
    --bad-tint: #331d1d;
    --shadow: none;
  }
}
*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0;
  min-height: 100vh;
  min-height: 100dvh;
  padding: clamp(1rem, 9vh, 6rem) 1rem 2rem;
  background: var(--page);
  color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word;
}
main {
  max-width: 26.5rem;
  margin: 0 auto;
  padding: clamp(1.5rem, 5vw, 2.25rem);
  border: 1px solid var(--line);
  border-radius: 1.25rem;
  background: var(--card);
  box-shadow: var(--shadow);
}
.logo { display: block; max-width: 60%; height: 2.75rem; margin: 0 0 1.5rem; object-fit: contain; object-position: left center; }
[dir="rtl"] .logo { object-position: right center; }
h1 { margin: 0 0 0.5rem; font-size: 1.625rem; line-height: 1.2; letter-spacing: -0.015em; text-wrap: balance; }
p { margin: 0 0 1rem; }
.lead { margin-bottom: 1.5rem; color: var(--quiet); text-wrap: pretty; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
[tabindex="-1"]:focus { outline: none; }

label { display: block; margin: 0 0 0.375rem; font-weight: 600; }
input {
  display: block;
  width: 100%;
  min-height: 3.25rem;
  margin: 0 0 1.25rem;
  padding: 0.75rem 0.9rem;
  border: 1px solid var(--field);
  border-radius: 0.75rem;
  background: var(--card);
  color: inherit;
  font: inherit;
}
input:focus-visible { border-color: var(--accent); outline-offset: 0; outline-width: 2px; }
input[aria-invalid="true"] { margin-bottom: 0.375rem; border-color: var(--bad); }
.error { margin-bottom: 1.25rem; color: var(--bad); font-weight: 500; }
.notice {
  margin: 0 0 1.5rem;
  padding: 0.875rem 1rem;
  border-inline-start: 4px solid var(--bad);
  border-radius: 0.5rem;
  background: var(--bad-tint);
}
.notice > * { margin: 0; }
p:empty { display: none; }

button, .button {
  display: flex;
  align-items: center;
  justify-content: center;
  width: 100%;
  min-height: 3.25rem;
  padding: 0.6rem 1.1rem;
  border: 1px solid var(--line);
  border-radius: 0.75rem;
  background: transparent;
  color: var(--accent);
  font: inherit;
  font-weight: 600;
  text-align: center;
  text-decoration: none;
  cursor: pointer;
}
button:hover, .button:hover { background: var(--tint); color: var(--accent-strong); }
.primary { border-color: transparent; background: var(--accent); color: var(--on-accent); }
.primary:hover { background: var(--accent-strong); color: var(--on-accent); }
[aria-disabled="true"] { opacity: 0.75; cursor: progress; }
.choices { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.choices > * { flex: 1 1 9rem; }
.choices form { display: flex; }

.clock { display: flex; align-items: center; gap: 0.875rem; margin: 0 0 1.5rem; line-height: 1.25; }
.ring { flex: none; width: 3.5rem; height: 3.5rem; transform: rotate(-90deg); }
.ring circle { fill: none; stroke-width: 11; }
.track { stroke: var(--line); }
.left {
  stroke: var(--accent);
  stroke-dasharray: 100;
  animation: drain var(--total, 120s) linear var(--since, 0s) both;
}
@keyframes drain { to { stroke-dashoffset: -100; } }
.time { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.clock .label { color: var(--quiet); font-size: 0.9375rem; }
.compare { margin: 0 0 0.5rem; font-weight: 600; text-wrap: pretty; }
.binding {
  margin: 0 0 1.5rem;
  padding: 1rem 0.75rem;
  border: 2px solid var(--accent);
  border-radius: 0.875rem;
  background: var(--tint);
  font: 700 clamp(1.75rem, 9.5vw, 2.5rem)/1.2 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  letter-spacing: 0.06em;
  text-align: center;
  overflow-wrap: anywhere;
  white-space: pre-wrap;
}
.binding.long { font-size: clamp(1.25rem, 6vw, 1.5rem); letter-spacing: 0; }
.trouble { display: flex; align-items: baseline; gap: 0.625rem; margin: -0.25rem 0 1.25rem; color: var(--quiet); font-weight: 500; }
.trouble::before {
  content: "";
  flex: none;
  width: 0.625rem;
  height: 0.625rem;
  border: 2px solid currentColor;
  border-radius: 50%;
}
.icon { display: none; width: 3.25rem; height: 3.25rem; margin: 0 0 1rem; }
.icon * { fill: none; stroke: currentColor; stroke-width: 2.25; stroke-linecap: round; stroke-linejoin: round; }
[data-status="denied"] .denied, [data-status="failed"] .failed { display: block; color: var(--bad); }
[data-status="expired"] .expired, [data-status="cancelled"] .cancelled { display: block; color: var(--quiet); }
[data-status="complete"] .complete { display: block; color: var(--good); }
.button#again { margin-top: 1.5rem; }
.code { color: var(--quiet); font-size: 0.875rem; overflow-wrap: anywhere; }
.said {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

@media (max-width: 30rem) {
  body { padding: 0; background: var(--card); }
  main { padding: clamp(1.25rem, 7vh, 3.5rem) 1.25rem 2rem; border: 0; border-radius: 0; box-shadow: none; }
}
@media (prefers-reduced-motion: no-preference) {
  button, .button { transition: background-color 0.15s; }
  section { animation: appear 0.25s ease-out; }
  @keyframes appear { from { opacity: 0; transform: translateY(0.25rem); } }
}
@media (prefers-reduced-motion: reduce) {
  .left { animation-timing-function: steps(24); }
}
@media (forced-colors: active) {
  .left { stroke: Highlight; }
  .track { stroke: GrayText; }
  .primary { border-color: ButtonText; }
  .notice { border: 1px solid CanvasText; }
}
`

/** How far the ring has drained when the page arrives, both in seconds; the page's script sets the same. */
export function ringStyle(total: number, left: number): string {
  return `.left { --total: ${total}s; --since: ${left - total}s; }\n`
}
