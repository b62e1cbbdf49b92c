// Back and Forward go through what was looked at. The state of each entry of the history says which view it shows, its number
// `n`, and its `place`: entries of one place show one conversation, which their address names as soon as it has a name. What
// the reader turns to gets an entry at once, by `rpGo`; what the server tells later changes that entry's address.
let here = { n: 0, place: 0, ...history.state, view: document.body.dataset.view };
let asked = null; // what was turned to and has not come yet: {id, from}, the number of the entry to go back to if it is refused
let returning = false; // on the way back to an entry that was left in vain
let sureUntil = 0;
history.replaceState(here, '');

const named = () => new URL(location).searchParams.get('c') ?? '';
const nameOf = (value) => value.temporary ? '' : value.conv ?? '';

function note(way, change, id = named()) {
  const address = new URL(location);
  if (id) address.searchParams.set('c', id); else address.searchParams.delete('c');
  here = { ...here, ...change };
  history[way](here, '', address);
}

window.rpGo = (id) => {
  if (id === named()) return;
  asked = { id, from: here.n };
  note('pushState', { n: here.n + 1, place: here.n + 1, view: document.body.dataset.view, temporary: false }, id);
};

new MutationObserver(() => {
  const view = document.body.dataset.view;
  if (view !== here.view) note('pushState', { n: here.n + 1, view });
}).observe(document.body, { attributeFilter: ['data-view'] });

// A conversation came (`news`: another one than is shown), or a sentence that says why it did not.
function arrived(value, news) {
  const id = nameOf(value), temporary = Boolean(value.temporary);
  if (returning) return;
  if (asked && id !== asked.id) {
    if (value.problem) return goTo(asked.from);
    if (asked.id || !news) return; // one that was asked for before; a new one gets its name with its first message
  }
  asked = null;
  if (id !== named() || temporary !== Boolean(here.temporary)) note('replaceState', { temporary }, id);
}

function goTo(n) {
  asked = null;
  if (n === here.n) return;
  returning = true;
  history.go(n - here.n);
}

addEventListener('popstate', ({ state }) => {
  if (state?.place === undefined) return note('replaceState', { n: here.n + 1 }); // a link to somewhere in a message
  const from = here.n, elsewhere = state.place !== here.place;
  here = state;
  if (elsewhere && !returning && endsChat()) return goTo(from);
  document.body.dataset.view = state.view;
  if (returning) returning = false;
  else if (elsewhere) turn(from);
  else if (props.value && !asked) note('replaceState', {}, nameOf(props.value)); // it has got its name since
});

function turn(from) {
  asked = { id: named(), from };
  if (!here.temporary) document.dispatchEvent(new CustomEvent('rp-open', { detail: named() }));
  else if (!props.value?.temporary) document.querySelector('#rp-temporary').click(); // a new one: what was said is gone
}

// A temporary chat ends when it is left, so that is asked first.
function endsChat() {
  if (!props.value?.temporary || !props.value.msgs.length || Date.now() < sureUntil) return false;
  sureUntil = Date.now() + 8000;
  rpTell(rpWord('temporary_leave'));
  return true;
}
