// Versions: drawn from what the page's timer sends of them, see runs.js; the card of one is asked for.
const [above, below] = around();
element.classList.add('empty');
let chosen = null;

async function act(asked) {
  const got = await rpAsk(asked);
  if (got?.said) rpTell(got.said);
  if (got?.now) { window.rpLearned = got.now; draw(); }
}

function version(value) {
  const head = make('div', 'rp-row-head', undefined, [make('b', '', versionName(value.number)), make('span', 'rp-tag ' + value.verdict, rpWord('verdict_' + value.verdict))]);
  if (value.share > 0) head.append(make('span', 'rp-tag serves', value.share < 1 ? rpWord('serves_share', { share: percent(value.share) }) : rpWord('serves')));
  else {
    const button = make('button', 'rp-small', rpWord(value.verdict === 'refused' ? 'serve_anyway' : 'serve_this'));
    head.append(twice(button, 'serve ' + value.number, () => act(server.promote(value.number))));
  }
  return make('div', 'rp-row', undefined, [head, ...(value.reason ? [make('div', 'rp-reason', value.reason)] : [])]);
}

let drawn = '';
function draw() {
  const value = window.rpLearned;
  if (!value) return;
  const looks = JSON.stringify([value.versions, value.can_roll_back, value.refused, chosen]);
  if (looks === drawn) return;
  drawn = looks;
  if (value.refused) return above.replaceChildren(make('p', 'rp-quiet rp-refused', value.refused));
  const rollback = twice(make('button', 'rp-small', rpWord('rollback')), 'rollback', () => act(server.rollback()));
  rollback.hidden = !value.can_roll_back;
  above.replaceChildren(make('div', 'rp-title', undefined, [make('h2', '', rpWord('versions_title')), rollback]), ...value.versions.map(version));
}
document.addEventListener('rp-learned', draw);
document.addEventListener('rp-version', (event) => { chosen = event.detail; draw(); });
draw();
