// Runs: props.value = {outlook, busy, runs: [...newest first], versions, can_roll_back} or {refused}, sent by the page's timer when
// it changed; states, figures and log of the run that is looked at are asked for.
const BUSY = ['queued', 'building', 'training', 'evaluating'];
const [above, below] = around();
let chosen = null; // the run looked at; null: the newest
let known = null; // what run_told said of it
let mark = ''; // what it was like when that was asked for

const current = () => props.value?.runs?.find((run) => run.id === chosen) ?? props.value?.runs?.[0];

async function refresh(force) {
  const run = current();
  if (!run || !shown('runs')) return;
  const now = [run.id, run.status, run.step, run.attempts].join();
  if (!force && now === mark) return;
  mark = now;
  trigger('curve', { id: run.id });
  const told = await rpAsk(server.run_told(run.id));
  if (told && told.id === current()?.id) { known = told; draw(); }
}

async function act(asked) {
  const got = await rpAsk(asked);
  if (got?.said) rpTell(got.said);
  if (got?.now) { props.value = got.now; draw(); }
}

function start(value) {
  const button = make('button', 'rp-main', rpWord('retrain'));
  button.dataset.id = 'retrain';
  button.disabled = value.busy;
  button.onclick = async () => { button.disabled = true; await act(server.retrain()); button.disabled = props.value.busy; };
  return make('div', 'rp-act', undefined, [button, make('span', 'rp-quiet', value.outlook)]);
}

const tag = (run) => make('span', 'rp-tag ' + run.status, rpWord('run_' + run.status));
const seconds = (run) => (new Date(run.ended ?? Date.now()) - new Date(run.began)) / 1000;

function progress(run) {
  if (!BUSY.includes(run.status)) return [];
  const bar = make('progress', 'rp-bar');
  bar.max = run.total || 1;
  bar.setAttribute('aria-label', rpWord('run_' + run.status));
  if (run.status === 'training' && run.total) bar.value = run.step;
  const facts = [];
  if (run.total) facts.push(rpWord('step', run));
  if (run.loss != null) facts.push(rpWord('loss', { loss: run.loss.toFixed(2) }));
  if (run.tokens_per_s) facts.push(rpWord('speed', { n: Math.round(run.tokens_per_s) }));
  if (run.seconds_left != null && run.status === 'training') facts.push(rpWord('left', { time: lasting(run.seconds_left) }));
  return [bar, make('div', 'rp-quiet', facts.join(' · '))];
}

function head(run) {
  const row = make('div', 'rp-row-head rp-looked', undefined, [make('h2', '', rpWord('run', { n: run.id })), tag(run)]);
  const told = [rpWord('began', { at: when(run.began) }), rpWord(run.ended ? 'took' : 'runs_for', { time: lasting(seconds(run)) })];
  if (run.attempts > 1) told.push(rpWord('attempts', { n: run.attempts }));
  row.append(make('span', 'rp-quiet', told.join(' · ')));
  if (BUSY.includes(run.status)) {
    const end = make('button', 'rp-small', rpWord(run.cancel_asked ? 'cancelling' : 'cancel_run'));
    end.disabled = run.cancel_asked;
    row.append(run.cancel_asked ? end : twice(end, 'cancel ' + run.id, () => act(server.cancel(run.id))));
  } else if (run.version !== null) row.append(versionLink(run.version));
  return row;
}

function versionLink(number) {
  const link = make('button', 'rp-small', rpWord('made', { n: number }));
  link.dataset.id = 'made';
  link.onclick = (event) => { event.stopPropagation(); rpLearn('versions'); document.dispatchEvent(new CustomEvent('rp-version', { detail: number })); };
  return link;
}

function diary(events) {
  const list = make('ol', 'rp-diary');
  for (const one of events) {
    const line = make('li', one.status, undefined, [make('b', '', rpWord('run_' + one.status)), make('time', '', when(one.at))]);
    if (one.reason) line.append(make('span', 'rp-quiet', one.reason));
    list.append(line);
  }
  return list;
}

function fold(title, node, key) {
  const box = make('details', 'rp-fold', undefined, [make('summary', '', title), node]);
  box.firstChild.dataset.id = key;
  box.open = folds.has(key);
  box.ontoggle = () => box.open ? folds.add(key) : folds.delete(key);
  return box;
}
const folds = new Set(['diary']);

function details(run) {
  if (!known || known.id !== run.id) return [];
  const log = make('pre', 'rp-log', known.log.join('\n'));
  setTimeout(() => { log.scrollTop = log.scrollHeight; });
  return [
    ...(known.events.length ? [fold(rpWord('diary'), diary(known.events), 'diary')] : []),
    ...(known.figures.length ? [fold(rpWord('figures'), figures(known.figures), 'figures')] : []),
    ...(known.log.length ? [fold(rpWord('log'), log, 'log')] : []),
  ];
}

function line(run) {
  const row = make('button', 'rp-line-run', undefined, [make('b', '', rpWord('run', { n: run.id })), tag(run), make('span', 'rp-quiet', when(run.began))]);
  if (run.reason) row.append(make('span', 'rp-clamp', run.reason));
  row.dataset.id = 'run ' + run.id;
  row.setAttribute('aria-pressed', run.id === current().id);
  row.onclick = () => { chosen = run.id; known = null; draw(); refresh(true); element.parentElement.scrollTo?.({ top: 0 }); };
  return row;
}

let drawn = '';
const draw = steady(() => {
  const value = props.value;
  if (!value) return;
  window.rpLearned = value;
  document.dispatchEvent(new Event('rp-learned'));
  const run = current(), looks = JSON.stringify([value, chosen, known]);
  element.toggleAttribute('data-empty', Boolean(value.refused) || !run);
  if (looks === drawn) return; // an open question must outlive a tick
  drawn = looks;
  if (value.refused) { below.replaceChildren(); return above.replaceChildren(make('p', 'rp-quiet rp-refused', value.refused)); }
  const last = value.runs.find((one) => !BUSY.includes(one.status));
  const ended = run && !BUSY.includes(run.status) && run.reason ? [make('p', 'rp-reason', run.reason)] : [];
  const why = last && last.id !== run.id && last.status !== 'promoted' ? [make('p', 'rp-notice', rpWord('last_' + last.status, { n: last.id, reason: last.reason }))] : [];
  renew(above, start(value), ...why, ...(run ? [head(run), ...progress(run), ...ended] : [make('p', 'rp-quiet', rpWord('no_runs'))]));
  renew(below, ...(run ? details(run) : []), ...(value.runs.length > 1 ? [make('h2', '', rpWord('all_runs')), ...value.runs.map(line)] : []));
});
watch('value', () => { draw(); refresh(false); });
draw();
whenShown('runs', () => refresh(true));
document.addEventListener('rp-run', (event) => { chosen = event.detail; known = null; draw(); refresh(true); });
// 'curve'
