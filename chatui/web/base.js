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

