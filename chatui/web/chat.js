// Everything around the Chatbot's own rows: the bar under each message, reasons, corrections, following.
// props.value = {conv, running, tail, more, msgs: [{id, role, rating, reasons, comment, status, error, version,
// correction, correction_shown, learned_by, siblings, wordless, cut, left_out, side, compared}]}, one entry per row, in the order of the rows;
// `problem` says why what was asked for last was refused.
const ICONS = {
  copy: rpIcon('<rect x="9" y="9" width="11" height="11" rx="2.5"/><path d="M5 15V6.5A2.5 2.5 0 0 1 7.5 4H15"/>'),
  up: rpIcon('<path d="M7 11v9M7 11l4.2-7.2c1.5 0 2.6 1.2 2.3 2.7L12.9 10h5a2 2 0 0 1 2 2.4l-1.2 5.8A2.2 2.2 0 0 1 16.5 20H7m0-9H4v9h3"/>'),
  down: rpIcon('<path d="M7 13V4M7 13l4.2 7.2c1.5 0 2.6-1.2 2.3-2.7L12.9 14h5a2 2 0 0 0 2-2.4l-1.2-5.8A2.2 2.2 0 0 0 16.5 4H7m0 9H4V4h3"/>'),
  correct: rpIcon('<path d="M4 20h4L19 9a2.1 2.1 0 0 0-4-4L4 16z"/>'),
  edit: rpIcon('<path d="M4 20h4L19 9a2.1 2.1 0 0 0-4-4L4 16z"/>'),
  regenerate: rpIcon('<path d="M20 12a8 8 0 1 1-2.3-5.7M20 4v4.5h-4.5"/>'),
  go_on: rpIcon('<path d="M5 5v14M9.5 6.5 17 12l-7.5 5.5z"/>'),
  facts: rpIcon('<circle cx="12" cy="12" r="8"/><path d="M12 11v5M12 8v.01"/>'),
  previous: rpIcon('<path d="M14.5 6 9 12l5.5 6"/>'),
  next: rpIcon('<path d="M9.5 6 15 12l-5.5 6"/>'),
  done: rpIcon('<path d="m5 12.5 4.5 4.5L19 7.5"/>'),
};
const wrap = () => element.querySelector('.bubble-wrap');
const message = (id) => props.value?.msgs.find((m) => m.id === id);
// Rows and bars where Gradio and this script put them: what looks like one within a message is only its text.
const ownRows = () => [...(element.querySelector('.message-wrap')?.querySelectorAll(':scope > .message-row') ?? [])];
const ownBar = (row) => row.querySelector(':scope > .flex-wrap > .rp-fx');
const bars = () => ownRows().map(ownBar).filter(Boolean);
const barOf = (id) => bars().find((bar) => bar.dataset.id === id);

// ---- the bar under a message

function button(name, pressed) {
  const node = make('button', 'rp-b' + (pressed ? ' on' : ''));
  node.dataset.act = name;
  node.title = rpWord(name);
  node.setAttribute('aria-label', rpWord(name));
  if (pressed !== undefined) node.setAttribute('aria-pressed', pressed);
  node.innerHTML = ICONS[name];
  return node;
}

// Steps through what else was said at this place; right of the last reply another one is written. Under a reply they
// stand behind the buttons, which must not move away from under a finger that presses again.
function steps(m) {
  const at = m.siblings.indexOf(m.id), last = at === m.siblings.length - 1;
  if (m.siblings.length < 2) return [];
  const nav = make('span', 'rp-steps');
  const previous = button('previous'), next = button('next');
  previous.disabled = at === 0;
  next.disabled = last && m.role === 'user';
  nav.append(previous, make('span', '', `${at + 1}/${m.siblings.length}`), next);
  return [nav];
}

// What was said of a thumb, which opens it again.
function why(m) {
  if (!m.rating) return [];
  const said = [...m.reasons.map(reasonText), ...(m.comment ? [`“${m.comment}”`] : [])].join(' · ');
  const again = make('button', 'rp-why', said || rpWord('say_why'));
  again.title = said;
  again.onclick = (event) => { event.stopPropagation(); openCard(again.closest('.rp-fx'), message(m.id) ?? m, m.rating); };
  return [again];
}

// Which version learned from a reply's feedback; leads to what is known of that version.
function learned(m) {
  if (m.learned_by === null) return [];
  const way = make('button', 'rp-learned', rpWord('learned_by', { n: m.learned_by }));
  way.title = rpWord('learned_by_look');
  way.onclick = (event) => {
    event.stopPropagation();
    rpView('learn');
    rpLearn('versions');
    document.dispatchEvent(new CustomEvent('rp-version', { detail: m.learned_by }));
  };
  return [way];
}

function notes(m) {
  const found = [];
  if (m.compared) found.push(rpWord('compared_' + m.compared.fared, { version: versionText(m.compared.with) }));
  if (m.left_out) found.push(rpWord('left_out', { n: m.left_out }));
  if (m.wordless) found.push(rpWord('wordless'));
  if (m.status === 'error') found.push(m.error || rpWord('status_error'));
  else if (m.status !== 'complete') found.push(rpWord('status_' + m.status));
  return [...(m.correction === null ? learned(m) : []), ...found.map((text) => make('span', 'rp-note' + (m.status === 'error' ? ' bad' : ''), text))];
}


function badge(m) {
  return m.version === null ? [] : [make('span', 'rp-badge', versionText(m.version))];
}

function inLine(m) {
  return m.waiting ? [make('span', 'rp-note', rpWord('waiting', { n: m.waiting }))] : [];
}

function fill(bar, m) {
  const drawn = JSON.stringify(m);
  if (bar.dataset.drawn === drawn) return;
  bar.dataset.drawn = drawn;
  bar.dataset.id = m.id;
  bar.className = 'rp-fx' + (m.role === 'user' ? ' mine' : '') + (m.status === 'running' ? ' busy' : '');
  const line = make('div', 'rp-line'), held = bar.contains(document.activeElement) && document.activeElement.dataset.act;
  if (m.side) line.append(make('b', '', m.side === 'left' ? 'A' : 'B'), ...(m.status === 'running' ? [make('span', 'rp-dot'), ...inLine(m)] : notes(m)));
  else if (m.status === 'running') line.append(make('span', 'rp-dot'), ...badge(m), ...inLine(m));
  else if (props.value.temporary) line.append(button('copy'), ...(m.role === 'user' ? [] : badge(m)), ...notes(m)); // not rated: it is not kept
  else if (m.role === 'user') line.append(...steps(m), button('copy'), button('edit'));
  else if (m.status === 'error') line.append(button('regenerate'), ...steps(m), ...notes(m));
  else line.append(button('copy'), button('up', m.rating === 1), button('down', m.rating === -1),
    button('correct', m.correction !== null), button('regenerate'), ...(m.cut ? [button('go_on')] : []),
    ...(m.version === null ? [] : [button('facts')]), ...steps(m), ...badge(m), ...why(m), ...notes(m));
  bar.replaceChildren(line);
  if (m.correction !== null) {
    const said = make('div', 'rp-said'), head = make('b', '', rpWord('corrected'));
    head.append(...learned(m));
    const swap = make('button', 'rp-swap', rpWord(m.correction_shown ? 'show_original' : 'show_instead'));
    swap.onclick = () => trigger('show_correction', { id: m.id, shown: !m.correction_shown });
    head.append(swap);
    if (m.correction_shown) head.firstChild.textContent = rpWord('is_corrected');
    said.append(head);
    if (!m.correction_shown) said.append(make('span', '', m.correction));
    bar.prepend(said);
  }
  if (held) bar.querySelector(`[data-act=${held}]`)?.focus({ preventScroll: true }); // the keyboard stays where it is
}

const more = make('button', 'rp-more');
let anchor = null; // keeps the place while earlier messages are loaded above it
more.onclick = () => {
  const [bar] = bars();
  if (bar) anchor = { id: bar.dataset.id, top: bar.closest('.message-row').getBoundingClientRect().top };
  trigger('more', {});
};

function placeMore(count) {
  const all = element.querySelector('.message-wrap');
  more.hidden = !count;
  more.textContent = rpWord('earlier') + (count ? ` (${count})` : '');
  if (all && all.parentNode.firstChild !== more) all.parentNode.insertBefore(more, all.parentNode.firstChild);
  const bar = anchor && barOf(anchor.id);
  if (!bar) return;
  const moved = bar.closest('.message-row').getBoundingClientRect().top - anchor.top;
  if (Math.abs(moved) > 1) { wrap().scrollTop += moved; anchor = null; }
}

// HTML in a message may not go by the page's names: scripts and styles would take it for the page's own. Taken away in the
// task that drew it, so that nothing meets them.
function unname() {
  const without = Element.prototype.removeAttribute; // a form answers with its inputs to the names of its own methods
  for (const row of ownRows()) {
    for (const node of row.querySelectorAll('.message-content [id^=rp-]')) without.call(node, 'id');
    for (const node of row.querySelectorAll('.message-content [class*=rp-]')) without.call(node, 'class');
  }
}

function decorate() {
  follow.hook();
  dress();
}

const dress = steady(() => {
  const value = props.value || { msgs: [] };
  const all = ownRows();
  if (all.length !== value.msgs.length) return; // the rows and their list are not both here yet
  all.forEach((row, place) => {
    const m = value.msgs[place];
    if (row.classList.contains('user-row') !== (m.role === 'user')) return;
    row.classList.toggle('rp-side', Boolean(m.side));
    let bar = ownBar(row);
    if (!bar) { bar = make('div'); row.querySelector('.flex-wrap').appendChild(bar); }
    if (bar.dataset.id !== m.id && row.dataset.editing) closeEdit(row);
    fill(bar, m);
  });
  placeMore(value.more);
  placeChoice(value);
});

// ---- two replies side by side: which is better

const OUTCOMES = { 1: 'left', 2: 'right', 3: 'tie', 4: 'both_bad' };
const choice = make('div', 'rp-choose');
for (const [key, outcome] of Object.entries(OUTCOMES)) {
  const pick = make('button', '', rpWord('choose_' + outcome));
  pick.dataset.outcome = outcome;
  pick.append(make('kbd', '', key));
  pick.onclick = () => choose(outcome);
  choice.append(pick);
}

function choose(outcome) {
  if (!choice.hidden && !choice.classList.contains('waits')) trigger('judge', { id: props.value.comparison, outcome });
}

function placeChoice(value) {
  const rows = element.querySelector('.message-wrap');
  choice.hidden = !value.comparison;
  choice.classList.toggle('waits', Boolean(value.running));
  for (const pick of choice.children) pick.disabled = Boolean(value.running);
  if (rows && rows.nextSibling !== choice) rows.after(choice);
}

// ---- following the end of a reply, only while the reader is there; who asks for a reply wants to see it

const follow = (() => {
  let stick = true, hooked = null, last = 0; // last: where it stood when it was looked at last
  const toEnd = () => {
    const w = wrap();
    if (!w || !stick) return;
    w.scrollTop = w.scrollHeight;
    last = w.scrollTop;
  };
  // Text may have grown since the move this event tells of, so being far from the end does not make it the reader's: moving up does.
  const moved = (w) => {
    if (w.scrollHeight - w.scrollTop - w.clientHeight < 40) stick = true;
    else if (w.scrollTop < last) stick = false;
    last = w.scrollTop;
  };
  const sizes = new ResizeObserver(toEnd);
  return {
    restart() { stick = true; requestAnimationFrame(toEnd); },
    hook() {
      const w = wrap(), rows = w?.querySelector('.message-wrap');
      if (!rows || rows === hooked) return;
      hooked = rows;
      sizes.disconnect();
      sizes.observe(rows);
      sizes.observe(w);
      if (w.dataset.followed) return;
      w.dataset.followed = '1';
      w.addEventListener('scroll', () => moved(w), { passive: true });
      w.addEventListener('wheel', (event) => { if (event.deltaY < 0) stick = false; }, { passive: true });
    },
  };
})();
window.rpFollow = follow.restart; // a message is sent from the composer
const write = (name, data) => { asking = null; follow.restart(); trigger(name, data); };

// ---- why a thumb: a card over the text, so that nothing moves

const card = make('div', 'rp-card');
card.hidden = true;
card.setAttribute('role', 'dialog');
let cardFor = null; // {id, value, comment}: the message, its thumb, and the comment that is kept of it
const remarks = rpKeep('remarks', () => remarks) ?? {}; // comments by message id, until the page shows them as kept

function closeCard() { card.hidden = true; cardFor = null; }

// Esc and Enter: the keyboard goes back to the thumb.
function endCard() {
  const bar = cardFor && barOf(cardFor.id), thumb = cardFor?.value > 0 ? 'up' : 'down';
  closeCard();
  bar?.querySelector(`[data-act=${thumb}]`)?.focus({ preventScroll: true });
}

// Something else was turned to. The reasons count as soon as they are pressed, so somebody who goes on takes the comment
// beside them for said too: it is sent. Esc is "not now": nothing is sent, and the comment is there when the card is
// opened again.
function leaveCard() {
  if (cardFor && (remarks[cardFor.id] ?? cardFor.comment) !== cardFor.comment) sendCard();
  closeCard();
}

function placeCard(bar) {
  if (card.parentNode !== wrap()) wrap().appendChild(card);
  card.hidden = false;
  const outer = wrap().getBoundingClientRect(), inner = bar.getBoundingClientRect();
  const below = inner.bottom + card.offsetHeight + 10 <= outer.bottom;
  card.style.top = (below ? inner.bottom + 6 : inner.top - card.offsetHeight - 6) - outer.top + wrap().scrollTop + 'px';
  card.style.left = Math.max(8, Math.min(inner.left - outer.left, outer.width - card.offsetWidth - 8)) + 'px';
}

async function openFacts(bar, m) {
  const known = await rpAsk(server.facts(m.id));
  if (!known) return;
  leaveCard();
  const list = make('dl', 'rp-facts');
  const add = (name, text) => list.append(make('dt', '', rpWord('fact_' + name)), make('dd', '', text));
  add('version', versionText(m.version));
  add('tokens', rpWord('fact_tokens_value', { prompt: known.prompt_tokens, reply: known.completion_tokens }));
  if (known.first_token_s != null) add('first_token', rpWord('seconds', { n: known.first_token_s.toFixed(2) }));
  if (known.tokens_per_s != null) add('speed', rpWord('per_second', { n: known.tokens_per_s.toFixed(1) }));
  if (known.unheeded.length) add('unheeded', known.unheeded.map((name) => rpWord('sampling_' + name)).join(', '));
  card.replaceChildren(make('div', 'rp-card-title', rpWord('facts')), list);
  placeCard(bar);
}

function openCard(bar, m, value) {
  if (cardFor?.id !== m.id) leaveCard();
  cardFor = { id: m.id, value, comment: m.comment };
  const chips = make('div', 'rp-chips');
  for (const reason of value > 0 ? rpReasons.up : rpReasons.down) {
    const chip = make('button', 'rp-chip', reasonText(reason));
    chip.dataset.reason = reason;
    chip.setAttribute('aria-pressed', m.reasons.includes(reason));
    chips.append(chip);
  }
  const comment = make('textarea');
  Object.assign(comment, { rows: 1, maxLength: 2000, placeholder: rpWord('comment'), value: remarks[m.id] ?? m.comment });
  comment.oninput = () => { remarks[m.id] = comment.value; };
  const foot = make('div', 'rp-foot');
  foot.append(comment, make('button', 'rp-save', rpWord('save')));
  const title = make('div', 'rp-card-title', rpWord(value > 0 ? 'why_up' : 'why_down'));
  card.replaceChildren(title, chips, foot, make('div', 'rp-hint', rpWord(value > 0 ? 'does_up' : 'does_down')));
  card.setAttribute('aria-label', title.textContent);
  placeCard(bar);
  if (!isTyping()) (chips.firstChild ?? comment).focus({ preventScroll: true }); // not away from who writes elsewhere
}

// Each travels by itself, and may come later than the next: the newest of a message counts.
let rated = 0;
const rate = (given) => trigger('rate', { ...given, number: ++rated });

function sendCard() {
  const reasons = [...card.querySelectorAll('[aria-pressed=true]')].map((chip) => chip.dataset.reason);
  const given = { id: cardFor.id, value: cardFor.value, reasons, comment: card.querySelector('textarea').value };
  const kept = (m) => m?.rating === given.value && m.comment === given.comment && String(m.reasons) === String(reasons);
  asking = { id: given.id, open: (bar, m) => openCard(bar, { ...m, ...given }, given.value), kept };
  rate(given);
}

card.addEventListener('click', (event) => {
  event.stopPropagation();
  const chip = event.target.closest('.rp-chip');
  if (chip) { chip.setAttribute('aria-pressed', chip.getAttribute('aria-pressed') !== 'true'); sendCard(); }
  if (event.target.closest('.rp-save')) { sendCard(); endCard(); }
});
card.addEventListener('keydown', (event) => {
  event.stopPropagation();
  if (event.key === 'Escape') endCard();
  if (event.key === 'Tab') {
    const all = [...card.querySelectorAll('button, textarea')], to = all.indexOf(event.target) + (event.shiftKey ? -1 : 1);
    if (to < 0 || to >= all.length) { event.preventDefault(); all.at(to < 0 ? -1 : 0)?.focus(); } // round, while it is open
  }
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target.tagName === 'TEXTAREA') {
    event.preventDefault();
    sendCard();
    endCard();
  }
});

// ---- a correction: the reply becomes a text box, filled with the text as it is stored

function closeEdit(row) { delete row.dataset.editing; row.querySelector(':scope > .flex-wrap > .rp-edit')?.remove(); }

// What an edit changes, word by word: the longest common subsequence stays, the rest is taken out or put in.
function changes(before, after) {
  const a = before.split(/(\s+)/), b = after.split(/(\s+)/);
  if (a.length * b.length > 4e6) return [make('ins', '', after)]; // longer than anybody reads a comparison of
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  }
  const out = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) { out.push(document.createTextNode(a[i])); i++; j++; }
    else if (j >= b.length || (i < a.length && best[i + 1][j] >= best[i][j + 1])) out.push(make('del', '', a[i++]));
    else out.push(make('ins', '', b[j++]));
  }
  return out;
}

const drafts = rpKeep('drafts', () => drafts) ?? {}; // by message id, until the page shows them as kept: neither a refusal nor Esc loses a text
const sentAnew = {}; // by the id of a question: how many wordings it had when another one was sent
let asking = null; // what is on its way: {id, open, kept}; opens again, under the message, what was written when it is refused

// What the page shows as kept is neither a draft nor on its way any more.
function settle(messages) {
  for (const m of messages) {
    if (m.correction !== null && m.correction === drafts[m.id]) delete drafts[m.id];
    if (m.comment === remarks[m.id]) delete remarks[m.id];
    for (const id of m.siblings) if (m.siblings.length > sentAnew[id]) { delete drafts[id]; delete sentAnew[id]; }
  }
  if (asking?.kept(message(asking.id))) asking = null;
}

function refused(text) {
  rpTell(text);
  const bar = asking && barOf(asking.id);
  if (bar && message(asking.id)) asking.open(bar, message(asking.id)); else closeCard();
  asking = null;
}

async function edit(bar, m) {
  const row = bar.closest('.message-row');
  const text = drafts[m.id] ?? m.correction ?? await rpAsk(server.raw([props.value.conv, m.id]));
  if (text === undefined) return;
  if (row.dataset.editing || bar.dataset.id !== m.id) return; // opened already, or the row shows another message now
  row.dataset.editing = '1';
  const height = row.querySelector('.message').offsetHeight;
  const box = make('div', 'rp-edit'), area = make('textarea'), foot = make('div');
  area.value = text;
  const original = m.role === 'user' ? null : await rpAsk(server.raw([props.value.conv, m.id])) ?? null, compared = make('div', 'rp-changes');
  const compare = () => {
    compared.hidden = original === null || area.value === original;
    if (!compared.hidden) compared.replaceChildren(...changes(original, area.value));
  };
  area.oninput = () => { drafts[m.id] = area.value; compare(); };
  compare();
  area.style.height = Math.max(84, Math.min(height + 16, 420)) + 'px';
  const mine = m.role === 'user';
  area.setAttribute('aria-label', rpWord(mine ? 'edit' : 'correct'));
  const save = make('button', 'rp-save', rpWord(mine ? 'send_again' : 'save_correction'));
  const cancel = make('button', 'rp-cancel', rpWord('cancel'));
  foot.append(save, cancel, make('span', '', rpWord(mine ? 'edit_hint' : 'correction_hint')));
  box.append(area, compared, foot);
  row.querySelector('.flex-wrap').insertBefore(box, bar);
  area.focus({ preventScroll: true });
  box.scrollIntoView({ block: 'nearest' });
  const end = (keep) => {
    closeEdit(row);
    if (!keep) { delete drafts[m.id]; delete sentAnew[m.id]; return; }
    drafts[m.id] = area.value;
    if (mine) sentAnew[m.id] = (message(m.id) ?? m).siblings.length; // as it is now: another tab may have added one
    if (mine) write('edit', { id: m.id, text: area.value }); else trigger('correct', { id: m.id, text: area.value });
    asking = { id: m.id, open: edit, kept: () => drafts[m.id] !== area.value };
  };
  save.onclick = () => end(true);
  cancel.onclick = () => end(false);
  box.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') { // the draft stays, for when it is opened again; Cancel discards it
      closeEdit(row);
      bar.querySelector(`[data-act=${mine ? 'edit' : 'correct'}]`)?.focus({ preventScroll: true });
    }
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) end(true);
  });
}

// ---- acting

async function toClipboard(text) {
  try { await navigator.clipboard.writeText(text); } catch { // a page without https has no clipboard to write to
    const area = make('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

async function act(name, bar) {
  const m = message(bar.dataset.id);
  if (!m) return;
  if (name === 'copy') {
    if (m.role === 'assistant' && !props.value.temporary) trigger('copied', { id: m.id });
    const text = m.correction ?? await rpAsk(server.raw([props.value.conv, m.id]));
    if (text === undefined) return;
    await toClipboard(text);
    const icon = bar.querySelector('[data-act=copy]');
    icon.innerHTML = ICONS.done;
    setTimeout(() => { icon.innerHTML = ICONS.copy; }, 1200);
  } else if (name === 'correct' || name === 'edit') edit(bar, m);
  else if (name === 'facts') openFacts(bar, m);
  else if (name === 'go_on') write('go_on', { id: m.id });
  else if (name === 'regenerate') write('regenerate', { id: m.id });
  else if (name === 'previous' || name === 'next') {
    const id = m.siblings[m.siblings.indexOf(m.id) + (name === 'next' ? 1 : -1)];
    if (id) trigger('show', { id }); else if (name === 'next' && m.role === 'assistant') write('regenerate', { id: m.id });
  } else {
    const wanted = name === 'up' ? 1 : -1, value = m.rating === wanted ? 0 : wanted;
    rate({ id: m.id, value });
    if (value) openCard(bar, { ...m, reasons: [], comment: '' }, value); else closeCard();
    asking = null; // a thumb refused closes the card: there is nothing to say why of
  }
}

element.addEventListener('click', (event) => {
  const pressed = event.target.closest('.rp-b');
  if (pressed) { event.stopPropagation(); act(pressed.dataset.act, pressed.closest('.rp-fx')); } else leaveCard();
});

// ---- keys: what they do stands in KEYS, which is also what `?` lists

const KEYS = [
  ['Enter', 'key_send'], ['Shift + Enter', 'key_line'], ['Esc', 'key_stop'], ['/', 'key_focus'], ['Ctrl + K', 'key_search'],
  ['Ctrl + Shift + O', 'key_new'], ['+', 'up'], ['-', 'down'], ['e', 'correct'], ['r', 'regenerate'], ['[', 'previous'],
  [']', 'next'], ['1 2 3 4', 'key_choose'], ['?', 'key_list'],
];
const ON_LAST_REPLY = { '+': 'up', '-': 'down', e: 'correct', r: 'regenerate', '[': 'previous', ']': 'next' };
const keyList = make('dialog', 'rp-keys');
document.body.append(keyList);

function showKeys() {
  const list = make('dl');
  for (const [key, word] of document.body.dataset.view === 'review' ? rpReviewKeys() : KEYS) {
    const term = make('dt');
    term.append(make('kbd', '', key));
    list.append(term, make('dd', '', rpWord(word)));
  }
  keyList.replaceChildren(make('b', '', rpWord('keys')), list);
  keyList.showModal();
}
keyList.addEventListener('click', () => keyList.close());
window.rpKeys = showKeys;

document.addEventListener('keydown', (event) => {
  const control = event.ctrlKey || event.metaKey, key = event.key;
  const focus = (selector) => { event.preventDefault(); document.querySelector(selector)?.focus(); };
  if (event.isComposing || keyList.open) return;
  if (key === 'Escape') {
    const search = document.activeElement?.closest('#rp-search') && document.activeElement;
    if (search?.value) { search.value = ''; search.dispatchEvent(new Event('input', { bubbles: true })); }
    else if (!card.hidden) endCard(); else if (props.value?.running) trigger('halt', {}); else document.activeElement?.blur();
  } else if (control && key.toLowerCase() === 'k') focus('#rp-search input, #rp-search textarea');
  else if (control && event.shiftKey && key.toLowerCase() === 'o') { event.preventDefault(); document.querySelector('#rp-new')?.click(); }
  else if (isTyping() || control || event.altKey) return;
  else if (key === '?') showKeys();
  else if (document.body.dataset.view !== 'chat') return;
  else if (OUTCOMES[key] && props.value?.comparison) choose(OUTCOMES[key]);
  else if (key === '/') focus('#rp-ask textarea');
  else if (ON_LAST_REPLY[key] && !props.value?.temporary) {
    const bar = bars().filter((one) => one.matches('.bot-row:not(.rp-side) > .flex-wrap > .rp-fx:not(.busy)')).pop();
    if (bar) { event.preventDefault(); act(ON_LAST_REPLY[key], bar); }
  }
});

// ---- what changed

// What was in the composer when the page was loaded anew; what is written in a temporary chat stays there.
const composer = () => document.querySelector('#rp-ask textarea');
let written = rpKeep('composer', () => rpTemporary() ? '' : written + (composer()?.value ?? '')) ?? '';
function writtenBefore() {
  if (!composer() || !written) return;
  putBefore(written);
  written = '';
}
function putBefore(text) {
  const box = composer();
  box.value = text + box.value;
  box.dispatchEvent(new Event('input', { bubbles: true }));
}

// A message that was refused comes back, before what has been written since.
function givenBack() {
  const { problem, text } = props.given_back ?? {};
  if (!text) return;
  putBefore(composer().value ? `${text}\n` : text);
  rpTell(problem);
}

let shown;
function changed() {
  const value = props.value;
  if (!value) return;
  settle(value.msgs);
  decorate();
  window.rpOpening?.(value);
  arrived(value);
  if (value.conv !== shown) {
    shown = value.conv;
    leaveCard();
    follow.restart();
    writtenBefore();
    if (matchMedia('(hover: hover)').matches) document.querySelector('#rp-ask textarea')?.focus({ preventScroll: true });
  }
  if (value.running && value.tail === false) trigger('attach', {});
  if (value.problem) refused(value.problem);
}

let queued = false;
new MutationObserver(() => {
  unname();
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; decorate(); });
}).observe(element, { childList: true, subtree: true });
watch('value', changed);
watch('given_back', givenBack);
unname();
changed();
// 'attach' 'rate' 'correct' 'edit' 'regenerate' 'go_on' 'show' 'show_correction' 'copied' 'more' 'halt' 'judge'
