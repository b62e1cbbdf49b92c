// What was learned: props.value = {outlook, counts, runs: [...], versions: [...]}, newest first; after something was asked
// for, `said` or `problem` tells what came of it.
const page = document.createElement('div');
page.className = 'rp-learn';
element.appendChild(page);
const SHOWN_COUNTS = ['conversations', 'thumbs_up', 'thumbs_down', 'corrections'];

function make(tag, className, text, children = []) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

function counts(value) {
  const cells = SHOWN_COUNTS.map((name) =>
    make('div', 'rp-count', undefined, [make('b', '', String(value.counts[name] ?? 0)), make('span', '', rpWord(name))]));
  return make('div', 'rp-counts', undefined, cells);
}

function run(value) {
  const busy = ['queued', 'building', 'training', 'evaluating'].includes(value.status);
  const head = make('div', 'rp-row-head', undefined, [
    make('b', '', rpWord('run', { n: value.id })),
    make('span', 'rp-tag ' + value.status, rpWord('run_' + value.status)),
  ]);
  if (value.version) head.append(make('span', 'rp-quiet', rpWord('made', { n: value.version })));
  const node = make('div', 'rp-row', undefined, [head]);
  if (busy) {
    const bar = make('progress', 'rp-bar');
    bar.max = value.total || 1;
    if (value.status === 'training' && value.total) bar.value = value.step;
    node.append(bar);
    const parts = value.total ? [rpWord('step', value)] : [];
    if (value.loss != null) parts.push(rpWord('loss', { loss: value.loss.toFixed(2) }));
    node.append(make('div', 'rp-quiet', parts.join(' · ')));
  } else if (value.reason) node.append(make('div', 'rp-reason', value.reason));
  return node;
}

// A choice that changes what everybody is served asks twice; the question lapses after a while.
const asked = new Map(); // what was asked for -> until when, so that a redraw keeps the question open
function twice(button, key, act) {
  const says = button.textContent;
  const show = () => {
    const open = (asked.get(key) ?? 0) > Date.now();
    button.textContent = open ? rpWord('sure') : says;
    button.classList.toggle('asked', open);
    if (open) setTimeout(show, asked.get(key) - Date.now() + 20);
  };
  button.onclick = () => {
    const sure = (asked.get(key) ?? 0) > Date.now();
    if (sure) asked.delete(key); else asked.set(key, Date.now() + 4000);
    show();
    if (sure) act();
  };
  show();
  return button;
}

function version(value) {
  const head = make('div', 'rp-row-head', undefined, [make('b', '', rpWord('version_name', { n: value.number }))]);
  head.append(make('span', 'rp-tag ' + value.verdict, rpWord('verdict_' + value.verdict)));
  if (value.share > 0) head.append(make('span', 'rp-tag serves', rpWord('serves')));
  else {
    const button = make('button', 'rp-small', rpWord(value.verdict === 'refused' ? 'serve_anyway' : 'serve_this'));
    head.append(twice(button, 'serve ' + value.number, () => trigger('promote', { number: value.number })));
  }
  return make('div', 'rp-row', undefined, [head, ...(value.reason ? [make('div', 'rp-reason', value.reason)] : [])]);
}

let drawn = '';
function draw() {
  if (!props.value) return;
  const { said, problem, refused, ...value } = props.value;
  if (said || problem) rpTell(said || problem);
  if (JSON.stringify(value) === drawn) return; // an open question must outlive a tick
  drawn = JSON.stringify(value);
  const retrain = make('button', 'rp-main', rpWord('retrain'));
  retrain.disabled = value.busy;
  retrain.onclick = () => {
    retrain.disabled = true;
    trigger('retrain', {});
    setTimeout(() => { retrain.disabled = props.value.busy; }, 3000); // a refusal changes nothing to draw
  };
  const rollback = twice(make('button', 'rp-small', rpWord('rollback')), 'rollback', () => trigger('rollback', {}));
  rollback.hidden = !value.can_roll_back;
  page.replaceChildren(
    make('h1', '', rpWord('learning_title')),
    make('p', 'rp-quiet', rpWord('learning_about')),
    counts(value),
    make('div', 'rp-act', undefined, [retrain, make('span', 'rp-quiet', value.outlook)]),
    make('h2', '', rpWord('run_title')),
    ...(value.runs.length ? value.runs.map(run) : [make('p', 'rp-quiet', rpWord('no_runs'))]),
    make('div', 'rp-title', undefined, [make('h2', '', rpWord('versions_title')), rollback]),
    ...value.versions.map(version),
  );
}
watch('value', draw);
draw();
// 'retrain' 'promote' 'rollback'
