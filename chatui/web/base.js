// What the parts of the page share; stands before each of their scripts, see look.script.
function make(tag, className, text, children = []) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

// A reason of ours has words in every language; one from the settings is its own.
function reasonText(reason) {
  const key = 'reason_' + reason, text = rpWord(key);
  return text === key ? reason : text;
}

// A version within a line; null wrote none of ours.
const versionText = (n) => n === null ? rpWord('imported') : n === 0 ? rpWord('base') : rpWord('version', { n });

function isTyping() {
  const at = document.activeElement;
  return /^(INPUT|TEXTAREA|SELECT)$/.test(at?.tagName) || at?.isContentEditable;
}

function save(file, type = 'text/plain') {
  const link = make('a');
  link.href = URL.createObjectURL(new Blob([file.text], { type: type + ';charset=utf-8' }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// A part that is drawn anew by itself, around who uses it. A press and its release must meet the same node, or the click
// comes to nothing: between them nothing is drawn. A press that ends elsewhere is forgotten after 3 s.
function steady(draw, root = element) {
  let late = false, ends = 0;
  const end = () => { ends = 0; if (late) draw(); late = false; };
  const endIn = (wait) => { clearTimeout(ends); ends = setTimeout(end, wait); };
  root.addEventListener('pointerdown', (event) => { if (event.button === 0) endIn(3000); }, true);
  for (const name of ['pointerup', 'pointercancel', 'click']) {
    addEventListener(name, (event) => { // the click of a touch comes some time after it
      if (ends) endIn(name === 'pointerup' ? (event.pointerType === 'touch' ? 400 : 50) : 0);
    }, true);
  }
  return () => { if (ends) late = true; else draw(); };
}

// Puts other nodes into a box. What had the keyboard has it again: the one of the same data-id, with what is selected in it.
function renew(box, ...nodes) {
  const had = box.contains(document.activeElement) ? document.activeElement : null;
  box.replaceChildren(...nodes);
  const again = had?.dataset.id && box.querySelector(`[data-id="${CSS.escape(had.dataset.id)}"]`);
  if (!again) return;
  again.focus({ preventScroll: true });
  if (again.tagName === 'TEXTAREA') again.setSelectionRange(had.selectionStart, had.selectionEnd);
}
