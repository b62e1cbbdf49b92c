// The head of the Learning view, and which of its parts is shown; kept in the browser tab, so that a reload finds it again.
const PARTS = ['feedback', 'runs', 'versions'];
const head = make('div', 'rp-learn');
element.appendChild(head);

function remembered() {
  try { return sessionStorage.getItem('rp-learn'); } catch { return null; }
}

window.rpLearn = (part) => {
  document.body.dataset.learn = part;
  try { sessionStorage.setItem('rp-learn', part); } catch { /* private windows keep nothing */ }
  for (const tab of head.querySelectorAll('[role=tab]')) tab.setAttribute('aria-selected', tab.dataset.part === part);
};

const tabs = make('div', 'rp-parts');
tabs.setAttribute('role', 'tablist');
for (const part of PARTS) {
  const tab = make('button', '', rpWord('part_' + part));
  tab.dataset.part = part;
  tab.setAttribute('role', 'tab');
  tab.onclick = () => rpLearn(part);
  tabs.append(tab);
}
tabs.onkeydown = (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = (PARTS.indexOf(document.body.dataset.learn) + step + PARTS.length) % PARTS.length;
  tabs.children[next].focus();
  rpLearn(PARTS[next]);
};
head.append(make('h1', '', rpWord('learning_title')), make('p', 'rp-quiet', rpWord('learning_about')), tabs);
rpLearn(PARTS.includes(remembered()) ? remembered() : PARTS[0]);
