// Versions: which serve, when they did and what they earned. What is short comes with the page's timer, see runs.js; what
// costs a query over the record is asked for when the part is opened, and again when what serves has changed.
const [above, below] = around();
let told = null; // thumbs, times and the history, by versions_told
let card = null; // what is known of the version looked at: {number, ...}; its lineage comes when it is unfolded
let answers = null; // what two versions replied
const trialShares = {}; // of new conversations, by the version that would be tried
const compared = { a: null, b: null, prompts: '' };
const folds = new Set(['figures']);

async function act(asked) {
  const got = await rpAsk(asked);
  if (got?.said) rpTell(got.said);
  if (got?.now) { window.rpLearned = got.now; draw(); refresh(); }
}

async function refresh() {
  if (!shown('versions')) return;
  told = await rpAsk(server.versions_told()) ?? told;
  draw();
}

// The newest comparison; while it is being made it is asked for again, so that a reload finds it.
let asking = 0;
async function answered() {
  clearTimeout(asking);
  if (!shown('versions')) return;
  answers = await rpAsk(server.comparison()) ?? null;
  draw();
  if (answers?.status === 'running') asking = setTimeout(answered, 1500);
}

async function look(number) {
  card = card?.number === number ? null : await rpAsk(server.version_told(number)) ?? null;
  draw();
}

function serving(version) {
  if (!version.share) return [];
  return [make('span', 'rp-tag serves', version.share < 1 ? rpWord('serves_share', { share: percent(version.share) }) : rpWord('serves'))];
}

function thumbs(version) {
  const one = told?.thumbs?.[version.number];
  if (!one) return make('span', 'rp-quiet', told ? rpWord('no_thumbs') : '');
  const track = make('div', 'rp-track'), text = make('span', 'rp-quiet', interval(one));
  if (one.enough) {
    const bar = make('i'), range = make('u');
    bar.style.width = length(one.share);
    range.style.left = length(one.low);
    range.style.width = length(one.high - one.low);
    track.append(bar, range);
  }
  text.title = rpWord('thumbs_earned_about');
  return make('div', 'rp-earned', undefined, [track, text]);
}

function served(version) {
  const spells = told?.served?.[version.number] ?? [];
  const text = spells.slice(-2).map((one) => `${day(one.since)} – ${one.until ? day(one.until) : rpWord('today_still')}${one.share < 1 ? ` (${percent(one.share)})` : ''}`).join(', ');
  return make('span', 'rp-quiet', text || (told ? rpWord('never_served') : ''));
}

const day = (text) => new Date(text).toLocaleDateString(rpSpoken, { dateStyle: 'medium' });

function row(version) {
  const open = make('button', 'rp-name', versionName(version.number));
  open.setAttribute('aria-expanded', card?.number === version.number);
  open.dataset.id = 'version ' + version.number;
  open.onclick = () => look(version.number);
  const head = make('div', 'rp-row-head', undefined, [open, make('span', 'rp-tag ' + version.verdict, rpWord('verdict_' + version.verdict)), ...serving(version)]);
  if (version.pinned) head.append(make('span', 'rp-tag', rpWord('pinned')));
  if (version.pruned) head.append(make('span', 'rp-tag', rpWord('pruned')));
  const node = make('div', 'rp-row rp-version', undefined, [head, make('div', 'rp-facts-line', undefined, [thumbs(version), served(version)])]);
  if (version.reason) node.append(make('div', 'rp-reason' + (card?.number === version.number ? '' : ' rp-clamp'), version.reason));
  if (card?.number === version.number) node.append(...details(version));
  return node;
}

// ---- the card of one

function deeds(version) {
  const line = make('div', 'rp-deeds');
  const deed = (label, key, does) => { // the place is the same whatever is done there; what was asked is the deed
    const button = make('button', 'rp-small', rpWord(label));
    button.dataset.id = `${key} ${version.number}`;
    line.append(twice(button, `${label} ${version.number}`, does));
  };
  const trial = window.rpLearned.trial;
  if (!version.pruned && version.share < 1) deed(version.verdict === 'refused' ? 'serve_anyway' : 'serve_this', 'serve', () => act(server.promote(version.number)));
  if (!version.pruned && version.share === 0 && !trial) {
    const share = make('select', 'rp-share');
    for (const part of [0.05, 0.1, 0.2, 0.5]) share.append(new Option(percent(part), part));
    share.value = trialShares[version.number] ?? 0.2;
    share.onchange = () => { trialShares[version.number] = share.value; };
    share.dataset.id = 'share';
    share.setAttribute('aria-label', rpWord('trial_share'));
    deed('trial_begin', 'trial', () => act(server.begin_trial([version.number, Number(share.value)])));
    line.append(share);
  }
  if (!version.pruned) deed(version.pinned ? 'unpin' : 'pin', 'pin', () => act(server.pin([version.number, !version.pinned])));
  return line;
}

function list(lines) {
  return make('dl', 'rp-known', undefined, lines.flatMap(([name, text]) => [make('dt', '', name), make('dd', '', text)]));
}

function fold(title, key, fill) {
  const box = make('details', 'rp-fold', undefined, [make('summary', '', title)]);
  box.firstChild.dataset.id = key;
  const opened = async () => { if (box.open && !box.dataset.full) { box.dataset.full = '1'; box.append(await fill()); } };
  box.open = folds.has(key);
  box.ontoggle = () => { if (box.open) folds.add(key); else folds.delete(key); opened(); };
  opened();
  return box;
}

async function lineage(number) {
  card.lineage ??= await rpAsk(server.lineage_told(number));
  const seen = card.lineage;
  if (!seen?.splits.length) return make('p', 'rp-quiet', rpWord('nothing_yet'));
  const lines = seen.splits.map(([split, n]) => [rpWord('split_' + split), String(n)]);
  return make('div', '', undefined, [list([...lines, ...seen.kinds.map(([kind, n]) => [kind.replaceAll('_', ' '), String(n)])]),
    ...(seen.revoked ? [make('p', 'rp-problem', rpWord('saw_revoked', { n: seen.revoked }))] : [])]);
}

function details(version) {
  const about = [[rpWord('card_base'), card.base], [rpWord('card_made'), when(version.made)], ...(card.method ? [[rpWord('card_method'), card.method]] : [])];
  const run = make('button', 'rp-small', rpWord('run', { n: version.run }));
  run.onclick = () => { rpLearn('runs'); document.dispatchEvent(new CustomEvent('rp-run', { detail: version.run })); };
  const actions = deeds(version);
  if (version.run !== null) actions.append(run);
  return [
    list(about), ...(card.slower ? [make('p', 'rp-quiet', rpWord('card_slower'))] : []), actions,
    ...(card.figures.length ? [fold(rpWord('figures'), 'figures', () => figures(card.figures))] : []),
    ...(version.run !== null ? [fold(rpWord('lineage'), 'lineage', () => lineage(version.number))] : []),
    ...(card.settings.length ? [fold(rpWord('card_settings'), 'settings', () => list(card.settings))] : []),
  ];
}

// ---- a trial, the history, two versions side by side

function trialNow(trial) {
  const end = (label, kept) => twice(make('button', 'rp-small', rpWord(label)), label, () => act(server.end_trial(kept)));
  const head = make('div', 'rp-row-head', undefined, [make('b', '', rpWord('trial_title', { a: trial.candidate, b: trial.against, share: percent(trial.share) })), end('trial_keep', true), end('trial_withdraw', false)]);
  return make('div', 'rp-row rp-trial', undefined, [head, make('div', 'rp-reason', trial.reason)]);
}

function history() {
  const items = [...told.promotions].reverse().map((one) => make('li', '', undefined, [
    make('b', '', one.shares.map(([number, share]) => share < 1 ? `${versionName(number)} ${percent(share)}` : versionName(number)).join(' · ')),
    make('time', '', when(one.at)), make('span', 'rp-quiet', one.reason)]));
  return make('ol', 'rp-diary', undefined, items);
}

function chooser(name) {
  const select = make('select');
  for (const one of window.rpLearned.versions) if (!one.pruned) select.append(new Option(versionName(one.number), one.number));
  select.dataset.id = 'compare ' + name;
  select.value = compared[name];
  select.setAttribute('aria-label', rpWord('compare_' + name));
  select.onchange = () => { compared[name] = Number(select.value); };
  return select;
}

function side() {
  const there = window.rpLearned.versions.filter((one) => !one.pruned);
  compared.b ??= there[0]?.number;
  compared.a ??= (there.find((one) => one.share > 0 && one.number !== compared.b) ?? there[1])?.number;
  const area = make('textarea'), go = make('button', 'rp-main', rpWord('compare_go'));
  area.dataset.id = 'prompts';
  area.rows = 3;
  area.placeholder = rpWord('compare_prompts');
  area.value = compared.prompts;
  area.oninput = () => { compared.prompts = area.value; };
  if (answers?.status === 'running') { go.disabled = true; go.textContent = rpWord('compare_waits'); }
  go.onclick = async () => {
    go.disabled = true;
    await act(server.compare([compared.a, compared.b, compared.prompts]));
    await answered();
    go.disabled = answers?.status === 'running';
  };
  const rows = (answers?.rows ?? []).map((one) => make('div', 'rp-answers', undefined, [
    make('div', 'rp-asked', one.prompt),
    ...['a', 'b'].map((name) => make('div', 'rp-reply', undefined, [make('b', '', versionName(answers[name])), make('p', '', one[name].text)]))]));
  if (answers?.status === 'failed') rows.push(make('p', 'rp-problem', answers.reason));
  return make('div', 'rp-compare-versions', undefined, [area, make('div', 'rp-act', undefined, [chooser('a'), chooser('b'), go]), ...rows]);
}

// ---- drawing

let drawn = '', serves = '';
const draw = steady(() => {
  const value = window.rpLearned;
  if (!value) return;
  const looks = JSON.stringify([value.versions, value.can_roll_back, value.trial, value.refused, told, card, answers]);
  if (looks === drawn) return;
  drawn = looks;
  if (value.refused) return above.replaceChildren(make('p', 'rp-quiet rp-refused', value.refused));
  const rollback = twice(make('button', 'rp-small', rpWord('rollback')), 'rollback', () => act(server.rollback()));
  rollback.hidden = !value.can_roll_back;
  renew(above, make('div', 'rp-title', undefined, [make('h2', '', rpWord('versions_title')), rollback]),
    ...(value.trial ? [trialNow(value.trial)] : []), ...value.versions.map(row),
    ...(value.versions.length > 1 ? [make('h2', '', rpWord('compare_title')), make('p', 'rp-quiet', rpWord('compare_about')), side()] : []),
    ...(told?.promotions.length ? [make('h2', '', rpWord('history')), history()] : []));
});

document.addEventListener('rp-learned', () => {
  const now = JSON.stringify([window.rpLearned.versions, window.rpLearned.trial]);
  if (now !== serves && serves) refresh();
  serves = now;
  draw();
});
document.addEventListener('rp-version', async (event) => { card = null; await look(event.detail); element.querySelector('[aria-expanded=true]')?.scrollIntoView({ block: 'center' }); });
whenShown('versions', () => { refresh(); answered(); });
draw();
