// The list of past conversations, drawn from props.value = {active, query, older, items: [{id, title, t, running,
// title_marks, snippet, snippet_marks}], problem}; marks are [start, end] places; `problem` says why a title or a deletion was refused.
const list = make('div', 'rp-list');
list.setAttribute('role', 'listbox');
element.appendChild(list);
const older = make('button', 'rp-older', rpWord('older'));
older.hidden = true;
older.onclick = () => trigger('older', {});
element.appendChild(older);

function group(seconds) {
  const day = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const then = new Date(seconds * 1000);
  const days = Math.round((day(new Date()) - day(then)) / 864e5);
  if (days <= 0) return rpWord('today');
  if (days === 1) return rpWord('yesterday');
  if (days < 7) return rpWord('week');
  if (days < 31) return rpWord('month');
  return then.toLocaleDateString(rpSpoken, { month: 'long', year: 'numeric' });
}

function marked(className, text, marks) {
  const node = make('div', className);
  let at = 0;
  for (const [start, end] of marks) {
    node.append(text.slice(at, start), make('mark', '', text.slice(start, end)));
    at = end;
  }
  node.append(text.slice(at));
  return node;
}

function entry(item, active) {
  const node = make('div', 'rp-entry' + (item.id === active ? ' on' : ''));
  node.append(marked('rp-entry-title', item.title || rpWord('new_chat'), item.title_marks));
  if (item.snippet) node.append(marked('rp-snippet', item.snippet, item.snippet_marks));
  const more = make('button', 'rp-entry-more', '⋯');
  more.title = rpWord('more');
  more.setAttribute('aria-label', rpWord('more'));
  more.dataset.id = 'more ' + item.id;
  node.append(more);
  node.dataset.id = item.id;
  node.tabIndex = 0;
  node.title = item.title;
  node.setAttribute('role', 'option');
  node.setAttribute('aria-selected', item.id === active);
  if (item.running) node.append(make('i', 'rp-dot'));
  return node;
}

const fill = steady(() => {
  if (list.querySelector('input')) return; // a title is being written
  const value = props.value || { items: [] };
  const rows = document.createDocumentFragment();
  let last = null;
  for (const item of value.items) {
    if (!value.query && group(item.t) !== last) rows.append(make('div', 'rp-group', last = group(item.t)));
    rows.append(entry(item, value.active));
  }
  if (!value.items.length) rows.append(make('div', 'rp-none', rpWord(value.query ? 'nothing_found' : 'none')));
  renew(list, rows);
  older.hidden = !value.older;
});

function draw() {
  fill();
  if (props.value?.problem) refused(props.value.problem);
}

let asking = null; // the title on its way: {id, title}; a refusal loses no text

function refused(text) {
  rpTell(text);
  undo.hidden = true;
  const node = asking && drawn(asking.id);
  if (node) rename(node, asking.title);
  asking = null;
}

function open(node) {
  list.querySelectorAll('.on').forEach((other) => other.classList.remove('on'));
  node.classList.add('on'); // at once, before the server answers
  document.body.dataset.view = 'chat';
  rpOpen(node.dataset.id);
  rpCloseSide();
}

document.addEventListener('rp-open', (event) => trigger('open', event.detail)); // see back.js

list.addEventListener('click', (event) => {
  const node = event.target.closest('.rp-entry');
  if (event.target.closest('.rp-entry-more')) { event.stopPropagation(); openMenu(node); }
  else if (node && !node.querySelector('input')) open(node);
});
list.addEventListener('keydown', (event) => {
  const entries = [...list.querySelectorAll('.rp-entry')];
  const at = entries.indexOf(document.activeElement);
  if (event.key === 'Enter' && at >= 0) open(entries[at]);
  if (event.key === 'F2' && at >= 0) rename(entries[at]);
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    entries[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
    event.preventDefault();
  }
});

// ---- the menu of one conversation

const menu = make('div', 'rp-menu');
menu.hidden = true;
document.body.append(menu);
const ACTIONS = {
  rename: (node) => rename(node),
  export_md: (node) => exported(node, 'md'),
  export_json: (node) => exported(node, 'json'),
  remove: (node) => remove(node),
};

// The line of a conversation as it is drawn now: when a reply ends, the list is drawn anew under an open menu.
const drawn = (id) => [...list.querySelectorAll('.rp-entry')].find((one) => one.dataset.id === id);

function openMenu(node) {
  const place = node.querySelector('.rp-entry-more').getBoundingClientRect();
  menu.replaceChildren(...Object.entries(ACTIONS).map(([name, act]) => {
    const choice = make('button', name, rpWord(name));
    choice.onclick = () => { menu.hidden = true; act(drawn(node.dataset.id) ?? node); };
    return choice;
  }));
  menu.hidden = false;
  menu.style.left = Math.min(place.left, innerWidth - menu.offsetWidth - 8) + 'px';
  menu.style.top = Math.min(place.bottom + 4, innerHeight - menu.offsetHeight - 8) + 'px';
  menu.firstChild.focus();
}
document.addEventListener('click', (event) => { if (!menu.contains(event.target)) menu.hidden = true; });
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') menu.hidden = true; });

function rename(node, text) {
  const title = node.querySelector('.rp-entry-title'), before = title.textContent;
  const box = Object.assign(make('input'), { value: text ?? before, maxLength: 120 });
  title.replaceChildren(box);
  box.focus();
  box.select();
  let ended = false;
  const end = (keep) => {
    if (ended) return;
    ended = true;
    const text = box.value.trim();
    title.textContent = keep && text ? text : before;
    if (!keep || !text || text === before) { setTimeout(fill, 300); return; } // what came meanwhile; a click that ends it goes first
    asking = { id: node.dataset.id, title: text };
    trigger('rename', asking);
  };
  box.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Enter' && !event.isComposing) end(true);
    if (event.key === 'Escape') end(false);
  });
  box.addEventListener('blur', () => end(true));
}

async function exported(node, kind) {
  const file = await rpAsk(server.export([node.dataset.id, kind]));
  if (file) save(file, kind === 'md' ? 'text/markdown' : 'application/json');
}

// Deleting asks nothing and can be undone for a while, here; later by `undelete` of the API.
const undo = make('div', 'rp-undo');
undo.hidden = true;
document.body.append(undo);
let lapses = null;

function remove(node) {
  const id = node.dataset.id, title = node.querySelector('.rp-entry-title').textContent;
  node.remove();
  trigger('remove', { id });
  const back = make('button', '', rpWord('undo'));
  back.onclick = () => { undo.hidden = true; trigger('bring_back', { id, ...rpGo(id) }); };
  const said = make('div', 'rp-undo-said'), [before, after] = rpWord('removed', { title: '\n' }).split('\n');
  said.append(make('div', '', before + title), make('div', '', after)); // a long title is cut, what was done to it is not
  undo.replaceChildren(said, back);
  undo.hidden = false;
  clearTimeout(lapses);
  lapses = setTimeout(() => { undo.hidden = true; }, 10000);
}

watch('value', draw);
draw();
rpCloseSide(); // a phone's first look is the chat
// 'rename' 'remove' 'bring_back'
