// Review: one reply at a time that wants a second look. All that was said is drawn with textContent only.
// server.look(filters) -> {item, counts, versions, raters, reasons} or {error}; server.decide({id, verdict, correction}).
const QUEUES = ['unrated', 'doubtful', 'disputed', 'corrected'];
const page = document.createElement('div');
page.className = 'rp-review';
element.appendChild(page);
const asked = { kind: 'unrated', version: '', rater: '', reason: '', since: '', until: '', skipped: [] };
const done = []; // what this visit did, newest last: {id, kind, skip}
let found = null, busy = false, drawing = 0;

function make(tag, className, text, children = []) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

const head = make('div', 'rp-rv-head'), tabs = make('div', 'rp-rv-tabs'), filters = make('div', 'rp-rv-filters');
const problem = make('p', 'rp-rv-problem'), place = make('div');
tabs.setAttribute('role', 'tablist');
problem.setAttribute('role', 'alert');
head.append(make('h1', '', rpWord('review_title')), make('p', 'rp-quiet', rpWord('review_about')));
page.append(head, tabs, filters, problem, place);

// ---- asking

async function ask(verb, what) {
  try {
    const answer = await verb(what);
    problem.textContent = answer.error ?? '';
    return answer.error ? null : answer;
  } catch { // the server is gone or busy: nothing was kept, and the reply stays where it is
    problem.textContent = rpWord('review_unreachable');
    return null;
  }
}

async function look() {
  const mine = ++drawing, answer = await ask(server.look, asked);
  if (answer && mine === drawing) { found = answer; draw(); } // an older answer does not replace a newer one
}

async function once(work) {
  if (busy) return;
  busy = true;
  try { await work(); } finally { busy = false; }
}

const decide = (verdict, correction) => once(async () => {
  const item = found?.item;
  if (!item || !await ask(server.decide, { id: item.message_id, verdict, correction })) return;
  done.push({ id: item.message_id, kind: asked.kind });
  await look();
});

const skip = () => once(async () => {
  if (!found?.item) return;
  asked.skipped.push(found.item.message_id);
  done.push({ id: found.item.message_id, kind: asked.kind, skip: true });
  await look();
});

const undo = () => once(async () => {
  const last = done.at(-1);
  if (!last || (!last.skip && !await ask(server.decide, { id: last.id, verdict: '' }))) return;
  done.pop();
  asked.skipped = asked.skipped.filter((id) => id !== last.id);
  asked.kind = last.kind;
  asked.first = last.id; // it comes back in front, whatever else has come in meanwhile
  await look();
  delete asked.first;
});

const choose = (kind) => { asked.kind = kind; asked.skipped = []; look(); };

// ---- drawing

const reasonText = (key) => { const said = rpWord('reason_' + key); return said === 'reason_' + key ? key : said; };

function drawTabs() {
  tabs.replaceChildren(...QUEUES.map((kind) => {
    const tab = make('button', 'rp-rv-tab', rpWord('queue_' + kind), [make('b', '', String(found.counts[kind]))]);
    tab.setAttribute('role', 'tab');
    tab.setAttribute('aria-selected', kind === asked.kind);
    tab.dataset.kind = kind;
    tab.onclick = () => choose(kind);
    return tab;
  }));
}

function chooser(name, values, text) {
  const box = make('select');
  box.name = name;
  box.append(new Option(rpWord('any_' + name), ''), ...values.map((value) => new Option(text(value), value)));
  box.value = asked[name];
  return box;
}

function dateBox(name) {
  const box = make('input');
  Object.assign(box, { type: 'date', name, value: asked[name] });
  return make('label', '', rpWord('review_' + name), [box]);
}

function drawFilters() {
  if (filters.contains(document.activeElement) && filters.childElementCount) return; // nobody's choice closes under them
  filters.replaceChildren(
    chooser('version', found.versions.map(String), (n) => (n === '0' ? rpWord('base') : rpWord('version', { n }))),
    chooser('rater', found.raters, (rater) => (rater === 'local' ? rpWord('rater_local') : rater)),
    chooser('reason', found.reasons, reasonText), dateBox('since'), dateBox('until'),
  );
  for (const box of filters.querySelectorAll('select, input')) box.setAttribute('aria-label', rpWord('review_by_' + box.name));
}
filters.addEventListener('change', (event) => { asked[event.target.name] = event.target.value; asked.skipped = []; look(); });

function thumb(t) {
  const said = [...t.reasons.map(reasonText), ...(t.comment ? [`“${t.comment}”`] : [])].join(' · ');
  return make('div', 'rp-rv-thumb', undefined, [
    make('i', t.value > 0 ? 'good' : 'bad', t.value > 0 ? '+1' : '−1'),
    make('b', '', t.rater === 'local' ? rpWord('rater_local') : t.rater), make('span', '', said),
  ]);
}

function notes(item) {
  const said = [item.version === null ? rpWord('review_imported') : item.version === 0 ? rpWord('base') : rpWord('version', { n: item.version })];
  said.push(new Date(item.created_at).toLocaleDateString(document.documentElement.lang));
  for (const kind of new Set(item.signals)) said.push(rpWord('signal_' + kind));
  if (item.cut) said.push(rpWord('signal_length'));
  if (item.verdict) said.push(rpWord('was_' + item.verdict));
  return make('div', 'rp-rv-notes', undefined, said.map((text) => make('span', '', text)));
}

function button(name, key, act) {
  const node = make('button', 'rp-rv-act ' + name, rpWord('review_' + name), [make('kbd', '', key)]);
  node.dataset.act = name;
  node.onclick = act;
  return node;
}

function draw() {
  drawTabs();
  drawFilters();
  const item = found.item, back = button('undo', 'u', undo);
  back.disabled = !done.length;
  if (!item) {
    const passed = asked.skipped.length ? rpWord('review_skipped', { n: asked.skipped.length }) : rpWord('review_empty_hint');
    const empty = make('div', 'rp-rv-empty', undefined, [make('b', '', rpWord('review_empty')), make('p', 'rp-quiet', passed)]);
    place.replaceChildren(empty, make('div', 'rp-rv-acts', undefined, [back]));
    return;
  }
  const card = make('article', 'rp-rv-card');
  card.dataset.id = item.message_id;
  if (item.question) card.append(make('div', 'rp-rv-question', item.question));
  card.append(make('div', 'rp-rv-reply', item.content), notes(item));
  if (item.thumbs.length) card.append(make('div', 'rp-rv-thumbs', undefined, item.thumbs.map(thumb)));
  if (item.correction !== null) {
    const changed = make('div', 'rp-changes', undefined, rpChanges(item.content, item.correction));
    card.append(make('div', 'rp-said', undefined, [make('b', '', rpWord('corrected')), make('span', '', item.correction)]),
      make('details', 'rp-rv-changed', undefined, [make('summary', '', rpWord('review_changes')), changed]));
  }
  place.replaceChildren(card, make('div', 'rp-rv-acts', undefined, [
    button('approve', 'a', () => decide('approved')), button('reject', 'x', () => decide('rejected')),
    button('correct', 'e', edit), button('skip', 's', skip), back,
  ]), make('p', 'rp-quiet rp-rv-does', rpWord('review_does')));
}

function edit() {
  const item = found?.item;
  if (!item || place.querySelector('.rp-edit')) return;
  const area = make('textarea'), keep = make('button', 'rp-rv-act approve', rpWord('save_correction'), [make('kbd', '', 'Ctrl + Enter')]);
  const cancel = make('button', 'rp-rv-act', rpWord('cancel'), [make('kbd', '', 'Esc')]);
  const compared = make('div', 'rp-changes'), box = make('div', 'rp-edit', undefined, [area, compared, make('div', 'rp-rv-acts', undefined, [keep, cancel])]);
  const compare = () => {
    compared.hidden = area.value === item.content;
    if (!compared.hidden) compared.replaceChildren(...rpChanges(item.content, area.value));
  };
  area.value = item.correction ?? item.content;
  area.rows = Math.min(14, Math.max(4, area.value.split('\n').length + 1));
  area.oninput = compare;
  area.setAttribute('aria-label', rpWord('correct'));
  compare();
  const save = () => decide('approved', area.value); // a refusal leaves the box, and its text, as they are
  keep.onclick = save;
  cancel.onclick = () => box.remove();
  box.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') box.remove();
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) save();
  });
  place.querySelector('.rp-rv-card').append(box);
  area.focus();
}

// ---- keys: only while this view is open and nobody is typing

const ACTS = { a: () => decide('approved'), x: () => decide('rejected'), e: edit, s: skip, u: undo };
window.rpReviewKeys = [['a', 'review_approve'], ['x', 'review_reject'], ['e', 'review_correct'], ['s', 'review_skip'],
  ['u', 'review_undo'], ['Ctrl + Enter', 'save_correction'], ['?', 'key_list']];
document.addEventListener('keydown', (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName) || document.activeElement?.isContentEditable;
  if (document.body.dataset.view !== 'review' || typing || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector('dialog[open]')) return;
  if (event.key === '?') rpKeys();
  else if (ACTS[event.key] && !event.repeat) { event.preventDefault(); ACTS[event.key](); }
});

let open = false;
new MutationObserver(() => {
  const now = document.body.dataset.view === 'review';
  if (now && !open) { document.activeElement?.blur(); look(); } // what came in since the last look
  open = now;
}).observe(document.body, { attributeFilter: ['data-view'] });
