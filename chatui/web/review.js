// The reviewer's queue, one reply at a time: props.value = {look, problem, choices: {versions, raters, reasons}, counts: {kind: n}?,
// items: [{message_id, question, content, version, created_at, thumbs: [{rater, value, reasons, comment}], correction,
// signals, why, before?: [{role, text}]}], rate?: {asked, answered, up, low, high}}. What is looked for lives here and travels with every event; so does
// what was skipped, and of the kind `ask` what is in hand: nobody is given a reply of it a second time.
const look = { kind: 'unrated', version: '', rater: '', reason: '', since: '', until: '', skipped: [], held: JSON.parse(sessionStorage.getItem('rp-held') ?? '[]') };
const ASK = 'ask', KINDS = [ASK, 'unrated', 'doubtful', 'disputed', 'corrected'];
const ENOUGH = 10; // thumbs, before a share of them is told
const done = []; // what this visit did, newest last: {undo}
let draft = null; // a correction on its way: {id, text}; a refusal loses no text
// Corrections that Esc or a reload left, by message id.
const drafts = rpKeep('review', () => draft ? { ...drafts, [draft.id]: draft.text } : drafts) ?? {};
let asking = null; // becomes part of `done` with the answer: what was refused is not undone
const box = make('div', 'rp-review');
element.appendChild(box);
let counts = {}; // as last told: nothing is counted while replies are asked about
let latest = 0, shown = props.value; // the newest question's number, and what was answered to it: an older answer may come later
let unfolded = ''; // the reply whose talk before it is open
let editing = false, busyUntil = 0; // should an answer not come: after 3 s keys work again

const items = () => (shown?.items ?? []).filter((item) => !look.skipped.includes(item.message_id));
function ask(name, data, undo) {
  asking = undo ? { undo } : null;
  busyUntil = Date.now() + 3000;
  editing = false;
  // What is pressed now would be meant for a reply that is about to go; drawing the answer puts them back.
  for (const button of box.querySelectorAll('.rp-do button')) button.disabled = true;
  const mine = ++latest;
  setTimeout(() => { if (busyUntil && mine === latest) missed(); }, 3000);
  trigger(name, { ...data, look: sent() });
}
// An answer did not come: what there is now is asked for, which does nothing but look, and buttons work meanwhile.
function missed() {
  trigger('look', { look: sent() });
  if (!editing) draw();
}
const sent = () => ({ n: latest, ...(look.kind === ASK ? { kind: ASK, held: look.held } : { ...look, held: [] }) });
const holdAgain = (id) => { look.held = [id, ...look.held.filter((other) => other !== id)]; };

// ---- what can be done with a reply; each knows how it is taken back

function judge(item, verdict) {
  ask('verdict', { id: item.message_id, verdict }, () => ask('verdict', { id: item.message_id, verdict: '' }));
}

function rate(item, value) {
  ask('answer', { id: item.message_id, value }, () => { holdAgain(item.message_id); ask('answer', { id: item.message_id, value: 0 }); });
}

function amend(item, text) {
  const before = item.correction ?? item.content;
  const back = () => { if (item.why) holdAgain(item.message_id); ask('amend', { id: item.message_id, text: before, verdict: '' }); };
  draft = { id: item.message_id, text };
  ask('amend', { ...draft, verdict: 'approved' }, back);
}

function skip(item) {
  look.skipped.push(item.message_id);
  look.held = look.held.filter((id) => id !== item.message_id);
  ask('look', {}, () => {
    look.skipped = look.skipped.filter((id) => id !== item.message_id);
    if (item.why) holdAgain(item.message_id);
    ask('look', {});
  });
}

const VERDICTS = { a: ['approve', (item) => judge(item, 'approved')], x: ['reject', (item) => judge(item, 'rejected')] };
const THUMBS = { '+': ['good', (item) => rate(item, 1)], '-': ['bad', (item) => rate(item, -1)] };
const ALWAYS = {
  e: ['amend', () => { editing = true; draw(); box.querySelector('.rp-item textarea')?.focus(); }],
  s: ['skip', skip],
  u: ['undo', () => { const last = done.pop(); if (last) last.undo(); }],
};
const actions = () => ({ ...(look.kind === ASK ? THUMBS : VERDICTS), ...ALWAYS });
window.rpReviewKeys = () => Object.entries(actions()).map(([key, [name]]) => [key, 'review_' + name]);

function act(key) {
  const item = items()[0];
  if (Date.now() < busyUntil || editing || (key !== 'u' && !item)) return;
  actions()[key][1](item);
}

// ---- drawing

function choice(name, values, label) {
  const select = make('select');
  select.append(new Option(rpWord('filter_' + name), ''));
  for (const value of values) select.append(new Option(label(value), value));
  select.value = look[name];
  select.setAttribute('aria-label', rpWord('filter_' + name));
  select.onchange = () => { look[name] = select.value; ask('look', {}); };
  return select;
}

function day(name) {
  const label = make('label', '', rpWord('filter_' + name)), input = make('input');
  Object.assign(input, { type: 'date', value: look[name] });
  input.onchange = () => { look[name] = input.value; ask('look', {}); };
  label.append(input);
  return label;
}

function filters(value) {
  const row = make('div', 'rp-filters'), all = value.choices;
  row.append(choice('version', all.versions, versionText),
    choice('rater', all.raters, (name) => name), choice('reason', all.reasons, reasonText), day('since'), day('until'));
  return row;
}

function kinds(value) {
  const row = make('div', 'rp-kinds');
  for (const kind of KINDS) {
    const tab = make('button', 'rp-kind', rpWord('kind_' + kind));
    if (kind !== ASK) {
      const waiting = counts[kind] ?? 0; // counted as far as 1000
      tab.append(make('i', '', waiting < 1000 ? waiting : '1000+'));
    }
    tab.title = rpWord('kind_' + kind + '_about');
    tab.setAttribute('aria-pressed', look.kind === kind);
    tab.onclick = () => { look.kind = kind; look.skipped = []; ask('look', {}); };
    row.append(tab);
  }
  return row;
}

function thumb(given) {
  const row = make('div', 'rp-thumb ' + (given.value > 0 ? 'up' : 'down'));
  const said = [rpWord(given.value > 0 ? 'up' : 'down'), ...given.reasons.map(reasonText), ...(given.comment ? [`“${given.comment}”`] : [])].join(' · ');
  row.append(make('b', '', given.rater), make('span', '', said));
  return row;
}

// A text as it is stored, its blocks of code set apart; it stays text, so that nothing in it runs.
function spoken(className, text) {
  const node = make('div', className);
  let code = null, end = '';
  for (const piece of text.split(/(?<=\n)/)) {
    const fence = piece.match(/^ {0,3}(`{3,}|~{3,})/)?.[1];
    if (code && fence?.startsWith(end) && !piece.trim().slice(fence.length)) { node.append(code); code = null; }
    else if (code) code.textContent += piece;
    else if (fence) { code = make('pre'); end = fence; }
    else if (node.lastChild?.nodeType === Node.TEXT_NODE) node.lastChild.data += piece;
    else node.append(piece);
  }
  if (code) node.append(code); // cut off within it
  return node;
}

function before({ message_id, before: turns }) {
  if (!turns?.length) return [];
  const fold = make('details', 'rp-before');
  fold.open = unfolded === message_id;
  fold.ontoggle = () => { if (fold.isConnected) unfolded = fold.open ? message_id : ''; };
  fold.append(make('summary', '', rpWord('said_before', { n: turns.length })));
  for (const { role, text } of turns) fold.append(spoken(role === 'user' ? 'rp-asked' : 'rp-answer', text));
  return [fold];
}

function editor(item) {
  const area = make('textarea'), foot = make('div', 'rp-do');
  area.value = draft?.id === item.message_id ? draft.text : drafts[item.message_id] ?? item.correction ?? item.content;
  area.oninput = () => { drafts[item.message_id] = area.value; };
  area.rows = Math.min(14, Math.max(4, area.value.split('\n').length + 1));
  area.setAttribute('aria-label', rpWord('amend'));
  const save = make('button', 'rp-main', rpWord('save_correction')), cancel = make('button', '', rpWord('cancel'));
  const close = () => { editing = false; draft = null; draw(); };
  const discard = () => { delete drafts[item.message_id]; };
  save.onclick = () => { const text = area.value; discard(); amend(item, text); };
  cancel.onclick = () => { discard(); close(); };
  area.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') close(); // what was written is there when it is opened again
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) save.onclick();
  };
  foot.append(save, cancel);
  return [area, foot];
}

function card(item) {
  const node = make('article', 'rp-item'), about = make('div', 'rp-about');
  about.append(make('span', '', new Date(item.created_at).toLocaleString(rpSpoken, { dateStyle: 'medium', timeStyle: 'short' })));
  if (item.version !== null) about.append(make('span', '', versionText(item.version)));
  for (const signal of item.signals) about.append(make('span', 'rp-tag', rpWord('signal_' + signal)));
  if (item.why) node.append(make('div', 'rp-why-asked', rpWord('why_' + item.why)));
  node.append(about, ...before(item), spoken('rp-asked', item.question), spoken('rp-answer', item.content));
  if (item.correction !== null) {
    const said = make('div', 'rp-said');
    said.append(make('b', '', rpWord('corrected')), make('span', '', item.correction));
    node.append(said);
  }
  node.append(...item.thumbs.map(thumb), ...(editing ? editor(item) : []));
  return node;
}

function buttons() {
  const row = make('div', 'rp-do');
  for (const [key, [name]] of Object.entries(actions())) {
    const button = make('button', name === 'approve' ? 'rp-main' : '', rpWord('review_' + name));
    button.dataset.act = name;
    button.append(make('kbd', '', key));
    button.disabled = key === 'u' ? !done.length : !items().length;
    button.onclick = () => act(key);
    row.append(button);
  }
  return row;
}

function rateLine(rate) {
  const percent = (share) => Math.round(100 * share), { answered: n, up, low, high } = rate;
  return make('p', 'rp-quiet rp-rate', n < ENOUGH ? rpWord('ask_rate_few', { n, enough: ENOUGH })
    : rpWord('ask_rate', { n, share: percent(up / n), low: percent(low), high: percent(high) }));
}

function problem(text) {
  const node = make('p', 'rp-problem', text);
  node.setAttribute('role', 'alert');
  return node;
}

function answered() {
  if ((props.value?.look?.n ?? latest) !== latest) return; // what is looked for now is still on its way, or here already
  shown = props.value;
  busyUntil = 0;
  counts = shown?.counts ?? counts;
  if (shown?.rate) {
    look.held = items().map((item) => item.message_id);
    sessionStorage.setItem('rp-held', JSON.stringify(look.held)); // a reload gives them back
  }
  if (asking && !shown?.problem) done.push(asking);
  asking = null;
  if (!shown?.problem) draft = null;
  else if (draft && items()[0]?.message_id === draft.id) editing = true; // opened again, with what was written
  if (!editing || draft) draw(); // a box that somebody writes in is not drawn anew
  if (editing && draft) box.querySelector('.rp-item textarea')?.focus();
}

function draw() {
  const value = shown;
  if (!value) return;
  const item = items()[0], name = look.kind === ASK ? 'ask' : 'review';
  const empty = make('div', 'rp-item rp-nothing', rpWord(name + '_empty'));
  box.replaceChildren(make('h1', '', rpWord('review')), make('p', 'rp-quiet', rpWord(name + '_about')), kinds(value),
    value.rate ? rateLine(value.rate) : filters(value),
    ...(value.problem ? [problem(value.problem)] : []),
    item ? card(item) : empty, ...(editing ? [] : [buttons()]));
}

document.addEventListener('keydown', (event) => {
  if (document.body.dataset.view !== 'review' || isTyping() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (actions()[event.key]) { event.preventDefault(); act(event.key); }
});

// The queue is asked for whenever the view is opened: others review too. It may be open before this script is there.
let open = false;
function opened() {
  const now = document.body.dataset.view === 'review';
  if (now && !open) ask('look', {});
  open = now;
}
new MutationObserver(opened).observe(document.body, { attributeFilter: ['data-view'] });
opened();
watch('value', answered);
// 'look' 'verdict' 'answer' 'amend'
