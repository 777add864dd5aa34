import { NAME_LIMIT, TEXT_LIMIT, type GuestbookList, type GuestbookMessage } from './guestbook-message.ts';
import { GUESTBOOK_SCRIPT } from './guestbook-script.ts';
import { GUESTBOOK_STYLE } from './guestbook-style.ts';

export interface PageState {
  readonly title: string;
  /** For the Content-Security-Policy: only what carries it is run and applied. */
  readonly nonce: string;
  /** undefined: the API did not give it. */
  readonly list: GuestbookList | undefined;
  readonly problem: string | undefined;
  /** What was written and could not be stored. */
  readonly draft: { readonly name: string; readonly text: string };
  readonly frontendPod: string;
}

/** The page as HTML. Everything that comes from people is escaped. */
export function renderPage(state: PageState): string {
  const title = escapeHtml(state.title);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<style nonce="${state.nonce}">${GUESTBOOK_STYLE}</style>
</head>
<body>
<a class="skip" href="#messages">Skip to the messages</a>
<header>
<h1>${title}</h1>
<p>Leave a line. Each request may be answered by another pod.</p>
</header>
<main>
<form method="post" action="/" id="form" novalidate>
<h2>Leave a message</h2>
<div class="field">
<label for="name">Your name</label>
<input id="name" name="name" required maxlength="${NAME_LIMIT}" autocomplete="name" value="${escapeHtml(state.draft.name)}" aria-describedby="problem">
</div>
<div class="field">
<label for="text">Message</label>
<textarea id="text" name="text" rows="3" required maxlength="${TEXT_LIMIT}" aria-describedby="problem">${escapeHtml(state.draft.text)}</textarea>
</div>
<p id="problem" class="problem" role="alert"${state.problem === undefined ? ' hidden' : ''}>${escapeHtml(state.problem ?? '')}</p>
<button type="submit">Sign the guestbook</button>
</form>
<section aria-labelledby="messages">
<h2 id="messages" tabindex="-1">Messages</h2>
<p id="status" class="visually-hidden" role="status"></p>
<ol id="list">${(state.list?.messages ?? []).map(renderMessage).join('')}</ol>
<p id="empty" class="empty"${(state.list?.messages.length ?? 0) > 0 ? ' hidden' : ''}>${
    state.list === undefined
      ? 'The messages cannot be shown at the moment.'
      : 'No messages yet. Be the first.'
  }</p>
</section>
</main>
<footer>
<h2>Who answered</h2>
<dl>
<div><dt>Page</dt><dd id="frontend-pod">${escapeHtml(state.frontendPod)}</dd></div>
<div><dt>API</dt><dd id="api-pod">${escapeHtml(state.list?.pod ?? 'not reached')}</dd></div>
</dl>
</footer>
<script nonce="${state.nonce}">${GUESTBOOK_SCRIPT}</script>
</body>
</html>
`;
}

function renderMessage(message: GuestbookMessage): string {
  const at = new Date(message.at);
  const iso = Number.isNaN(at.getTime()) ? '' : at.toISOString();
  return `<li><article><h3>${escapeHtml(message.name)}</h3><p class="text">${escapeHtml(message.text)}</p><p class="meta"><time datetime="${iso}">${iso.slice(0, 16).replace('T', ' ')} UTC</time> <span class="pod">taken by ${escapeHtml(message.pod)}</span></p></article></li>`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
