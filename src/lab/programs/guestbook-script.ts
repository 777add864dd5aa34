/** What the page does in the browser: sends without a reload, and looks for new messages every 4 seconds. */
export const GUESTBOOK_SCRIPT = `
'use strict';
const by = (id) => document.getElementById(id);
const form = by('form'), problem = by('problem'), list = by('list');
const button = form.querySelector('button');
const show = (text) => { problem.textContent = text; problem.hidden = text === ''; };
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
};
const entry = (message) => {
  const item = element('li'), article = element('article'), meta = element('p', '', 'meta');
  const time = element('time', new Date(message.at).toLocaleString());
  time.dateTime = message.at;
  meta.append(time, element('span', 'taken by ' + message.pod, 'pod'));
  article.append(element('h3', message.name), element('p', message.text, 'text'), meta);
  item.append(article);
  return item;
};
let shown;
const ask = async (options) => {
  const response = await fetch('/api/messages', options);
  by('frontend-pod').textContent = response.headers.get('x-frontend-pod') || 'unknown';
  const body = await response.json().catch(() => ({}));
  by('api-pod').textContent = body.pod || 'not reached';
  if (!response.ok) throw new Error(body.error || 'The server answered with status ' + response.status);
  return body;
};
const refresh = async () => {
  const { messages } = await ask();
  const now = JSON.stringify(messages);
  if (now === shown) return;
  const before = list.children.length;
  list.replaceChildren(...messages.map(entry));
  by('empty').hidden = messages.length > 0;
  by('empty').textContent = 'No messages yet. Be the first.';
  if (shown !== undefined) by('status').textContent = messages.length > before ? 'New message.' : 'Messages updated.';
  shown = now;
};
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const fields = [form.elements.name, form.elements.text];
  for (const field of fields) field.setAttribute('aria-invalid', String(field.value.trim() === ''));
  const missing = fields.find((field) => field.value.trim() === '');
  if (missing) {
    show(missing.name === 'name' ? 'Please fill in your name.' : 'Please write a message.');
    missing.focus();
    return;
  }
  if (button.getAttribute('aria-busy') === 'true') return;
  button.setAttribute('aria-busy', 'true');
  try {
    const body = JSON.stringify({ name: form.elements.name.value, text: form.elements.text.value });
    await ask({ method: 'POST', body, headers: { 'content-type': 'application/json' } });
    form.elements.text.value = '';
    form.elements.text.focus();
    show('');
    await refresh();
  } catch (error) {
    show(error instanceof TypeError ? 'The page cannot reach its server.' : error.message);
  } finally {
    button.removeAttribute('aria-busy');
  }
});
let failed = false;
const watch = async () => {
  try {
    await refresh();
    if (failed) show('');
    failed = false;
  } catch (error) {
    failed = true;
    show(error instanceof TypeError ? 'The page cannot reach its server; trying again.' : error.message);
  }
  setTimeout(watch, document.hidden ? 15000 : 4000);
};
watch();
`;
