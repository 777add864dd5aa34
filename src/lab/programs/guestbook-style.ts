/** The look of the page: one column, the reader's light or dark, no assets from elsewhere. */
export const GUESTBOOK_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f5f1; --card: #ffffff; --ink: #1d2330; --soft: #5a6375; --line: #dcdad2;
  --accent: #1f5fa8; --accent-ink: #ffffff; --alert: #a3261c; --alert-page: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171d; --card: #1d222b; --ink: #e9ebf0; --soft: #a3acbd; --line: #343b48;
    --accent: #7db4f0; --accent-ink: #10161f; --alert: #ff9c92; --alert-page: #3a1f1d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 3rem; max-width: 44rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
}
header { margin-bottom: 1.75rem; }
h1 { margin: 0; font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.02em; }
header p { margin: .4rem 0 0; color: var(--soft); }
h2 { margin: 0 0 .9rem; font-size: 1.15rem; }
form, article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
form { padding: 1.4rem 1.4rem 1.5rem; margin-bottom: 2.25rem; }
.field { margin-bottom: 1rem; }
label { display: block; margin-bottom: .3rem; font-weight: 600; }
input, textarea {
  width: 100%; padding: .6rem .75rem; font: inherit; color: inherit;
  background: var(--page); border: 1px solid var(--soft); border-radius: 8px;
}
textarea { resize: vertical; min-height: 5.5rem; }
button {
  padding: .65rem 1.2rem; font: inherit; font-weight: 600; cursor: pointer;
  color: var(--accent-ink); background: var(--accent); border: 0; border-radius: 8px;
}
button:hover { filter: brightness(1.1); }
button[aria-busy=true] { cursor: progress; opacity: .7; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
[aria-invalid=true] { border-color: var(--alert); border-width: 2px; }
.problem {
  margin: 0 0 1rem; padding: .65rem .8rem; border-radius: 8px;
  color: var(--alert); background: var(--alert-page); overflow-wrap: anywhere;
}
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem; }
article { padding: 1rem 1.2rem; }
article h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
.text { margin: .25rem 0 .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.meta { margin: 0; display: flex; flex-wrap: wrap; gap: .25rem .9rem; font-size: .85rem; color: var(--soft); }
.empty { color: var(--soft); }
footer { margin-top: 2.5rem; padding-top: 1.2rem; border-top: 1px solid var(--line); color: var(--soft); }
footer h2 { font-size: .95rem; margin-bottom: .5rem; }
dl { margin: 0; display: grid; gap: .25rem; font-size: .9rem; }
dl div { display: flex; gap: .6rem; }
dt { min-width: 3rem; }
dd, .pod { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
dd { margin: 0; color: var(--ink); }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; display: inline-block; margin-bottom: 1rem; color: var(--accent); }
.visually-hidden {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%);
}
[hidden] { display: none; }
@media (prefers-reduced-motion: no-preference) { button { transition: filter .15s; } }
`;
