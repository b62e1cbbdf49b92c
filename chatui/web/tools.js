// What the parts of the Learning view and the panel of personas share beside base.js; stands before each of their scripts.

// A choice that changes what everybody is served, or has no undo, asks twice; the question lapses after a while.
const asked = new Map(); // what was asked for -> until when, so that a redraw keeps the question open
function twice(button, key, act) {
  button.dataset.id ??= key;
  const says = button.textContent, label = button.getAttribute('aria-label'); // of a button that shows a sign
  const show = () => {
    const open = (asked.get(key) ?? 0) > Date.now();
    button.textContent = open ? rpWord('sure') : says;
    if (label) button.setAttribute('aria-label', open ? rpWord('sure') : label);
    button.classList.toggle('asked', open);
    if (open) setTimeout(show, asked.get(key) - Date.now() + 20);
  };
  button.onclick = (event) => {
    event.stopPropagation();
    const sure = (asked.get(key) ?? 0) > Date.now();
    if (sure) asked.delete(key); else asked.set(key, Date.now() + 4000);
    show();
    if (sure) act();
  };
  show();
  return button;
}

const percent = (share) => `${Math.round(100 * share)} %`;
const length = (share) => `${100 * share}%`; // as a style takes it
const versionName = (number) => number === 0 ? rpWord('base') : rpWord('version_name', { n: number });

// A share with its interval; of too few observations none is told.
function interval(one) {
  if (!one.enough) return rpWord('not_enough', { n: one.n });
  return rpWord('share_of', { share: percent(one.share), low: Math.round(100 * one.low), high: Math.round(100 * one.high), n: one.n });
}

function when(text) {
  return text ? new Date(text).toLocaleString(rpSpoken, { dateStyle: 'medium', timeStyle: 'short' }) : '';
}

function lasting(seconds) {
  if (seconds < 90) return rpWord('n_seconds', { n: Math.round(seconds) });
  return seconds < 5400 ? rpWord('n_minutes', { n: Math.round(seconds / 60) }) : rpWord('n_hours', { n: (seconds / 3600).toFixed(1) });
}

// What stands above and below a part's plots; these are hidden while there is nothing to draw.
function around() {
  const above = make('div', 'rp-part'), below = make('div', 'rp-part');
  element.prepend(above);
  element.append(below);
  return [above, below];
}

const shown = (part) => document.body.dataset.view === 'learn' && document.body.dataset.learn === part;

// Calls whenever a part of the view is turned to.
function whenShown(part, act) {
  let open = false;
  const look = () => {
    const is = shown(part);
    if (is && !open) act();
    open = is;
  };
  new MutationObserver(look).observe(document.body, { attributeFilter: ['data-view', 'data-learn'] });
  look();
}

// The gate's figures: of what served, of the version, and by how much that is better.
function cell(one, sign) {
  if (!one || one.mean === null) return make('td', '', '');
  const text = (value) => (sign && value > 0 ? '+' : '') + value.toFixed(2);
  const node = make('td', '', text(one.mean));
  if (one.low !== null && one.high !== null) node.append(make('small', '', ` ${text(one.low)} … ${text(one.high)}`));
  return node;
}

function figures(lines) {
  const head = make('tr', '', undefined, ['figure', 'figure_serving', 'figure_candidate', 'figure_change'].map((key) => make('th', '', rpWord(key))));
  const rows = lines.map((one) => make('tr', one.decides ? 'decides' : '', undefined,
    [make('td', '', one.name.replaceAll('_', ' ')), cell(one.serving), cell(one.candidate), cell(one.change, true)]));
  return make('div', 'rp-wide', undefined, [make('table', 'rp-figures', undefined, [make('thead', '', undefined, [head]), make('tbody', '', undefined, rows)])]);
}
