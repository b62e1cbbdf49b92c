// Back and Forward go through what was looked at. The state of each entry of the history says which view it shows, its number
// `n`, whether its chat is a temporary one, and its `place`: entries of one place show one conversation, which their address
// names as soon as it has a name. What the reader turns to gets an entry at once; the server is told its place, and says of
// all that it sends which place it is for (null: nothing was turned to since the page was loaded). What the browser sends
// may come in another order: what is turned to is numbered, and a message says after how many turns it was written.
let here = { n: 0, place: 0, ...history.state, view: document.body.dataset.view };
let returning = false; // on the way back to a temporary chat that was not to end
let sureUntil = 0, at = location.href, turns = 0;
window.rpTurns = () => turns;
const turnTo = (place) => ({ place, turn: ++turns });
history.replaceState(here, '');

const named = () => new URL(location).searchParams.get('c') ?? '';
const placeOf = (value) => value.place ?? here.place;

function note(way, change, id = named()) {
  const address = new URL(location);
  if (id) address.searchParams.set('c', id); else address.searchParams.delete('c');
  here = { ...here, ...change };
  history[way](here, '', address);
  at = location.href;
}

// Gives what is turned to its entry, if it is elsewhere; returns what tells the server of it.
window.rpGo = (id, temporary = false) => {
  if (id !== named() || temporary !== Boolean(here.temporary)) {
    note('pushState', { n: here.n + 1, place: here.n + 1, view: document.body.dataset.view, temporary }, id);
  }
  return turnTo(here.place);
};
const open = (id, temporary, to) => document.dispatchEvent(new CustomEvent('rp-open', { detail: { id, temporary, ...to } }));
window.rpOpen = (id, temporary = false) => open(id, temporary, rpGo(id, temporary));

new MutationObserver(() => {
  const view = document.body.dataset.view;
  if (view !== here.view) note('pushState', { n: here.n + 1, view });
}).observe(document.body, { attributeFilter: ['data-view'] });

// What came is this entry's conversation, or the one that is shown because this entry's could not be.
function arrived(value) {
  const id = value.temporary ? '' : value.conv ?? '', temporary = Boolean(value.temporary), mine = placeOf(value) === here.place;
  if (returning || !(mine || value.refused_place === here.place)) return;
  if (!mine || id !== named() || temporary !== Boolean(here.temporary)) note('replaceState', { place: placeOf(value), temporary }, id);
}

addEventListener('popstate', ({ state }) => {
  if (state?.place === undefined) return note('replaceState', { n: here.n + (location.href !== at) }); // a link within a message
  const elsewhere = state.place !== here.place;
  if (elsewhere && !returning && endsChat()) {
    returning = true;
    setTimeout(() => { returning = false; }, 1000);
    return history.go(here.n - state.n);
  }
  here = state;
  at = location.href;
  document.body.dataset.view = state.view;
  if (returning) returning = false;
  else if (elsewhere) {
    if (Date.now() < sureUntil) document.querySelector('.rp-tell')?.remove(); // that was answered
    sureUntil = 0;
    open(named(), Boolean(state.temporary), turnTo(state.place));
  } else if (props.value) arrived(props.value); // it may have got its name since
});

// A temporary chat ends when it is left, so that is asked first.
function endsChat() {
  const value = props.value;
  if (!value?.temporary || !value.msgs.length || placeOf(value) !== here.place || Date.now() < sureUntil) return false;
  sureUntil = Date.now() + 8000;
  rpTell(rpWord('temporary_leave'));
  return true;
}
