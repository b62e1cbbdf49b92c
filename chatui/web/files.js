// Text files as context: dropped on the page, pasted or chosen, read in the browser, and sent as part of the message.
const LARGEST = 100_000; // characters of all files of one message; the store keeps 200,000 of a message
const files = [];
const pick = Object.assign(make('input'), { type: 'file', multiple: true, hidden: true });
const clip = make('button', 'rp-clip');
clip.title = rpWord('attach_file');
clip.setAttribute('aria-label', rpWord('attach_file'));
clip.innerHTML = rpIcon('<path d="m19 11.5-7.3 7.3a4.6 4.6 0 0 1-6.5-6.5l7.6-7.6a3.1 3.1 0 0 1 4.4 4.4l-7.5 7.5a1.5 1.5 0 0 1-2.2-2.2l6.9-6.8"/>');
const chips = make('div', 'rp-chosen');
element.append(pick, clip, chips);

function chip(className, text, onRemove) {
  const node = make('span', className, text), remove = make('button', '', '×');
  remove.title = rpWord('remove');
  remove.setAttribute('aria-label', rpWord('remove') + ' ' + text);
  remove.onclick = () => { onRemove?.(); node.remove(); };
  node.append(remove);
  chips.append(node);
}

const complain = (key, values) => chip('rp-file bad', rpWord(key, values));

function take(file) {
  files.push(file);
  chip('rp-file', file.name, () => files.splice(files.indexOf(file), 1));
}

async function add(file) {
  let text;
  if (file.size > 4 * LARGEST) { complain('file_too_long', { name: file.name, most: LARGEST.toLocaleString() }); return; }
  try { text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer()); } catch { text = '\0'; }
  if (text.includes('\0')) { complain('file_not_text', { name: file.name }); return; }
  if (!text.trim()) { complain('file_empty', { name: file.name }); return; }
  const together = files.reduce((sum, other) => sum + other.text.length, text.length);
  if (together > LARGEST) { complain('file_too_long', { name: file.name, most: LARGEST.toLocaleString() }); return; }
  take({ name: file.name, text });
  document.querySelector('#rp-ask textarea')?.focus();
}

// A fence longer than any in the file, so that the file cannot end it.
function fenced(file) {
  const longest = Math.max(2, ...[...file.text.matchAll(/`+/g)].map((run) => run[0].length));
  const fence = '`'.repeat(longest + 1);
  return `${file.name}\n${fence}\n${file.text.replace(/\n$/, '')}\n${fence}`;
}

// What is sent: the text with the files below it. They are taken; a refused message comes back as text.
window.rpWithFiles = (text) => {
  const parts = [text, ...files.map(fenced)].filter((part) => part.trim());
  files.length = 0;
  chips.replaceChildren();
  return parts.join('\n\n');
};

for (const file of rpKeep('files', () => rpTemporary() ? [] : files) ?? []) take(file);
clip.onclick = () => pick.click();
pick.onchange = () => { for (const file of pick.files) add(file); pick.value = ''; };
const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
document.addEventListener('dragover', (event) => { if (carriesFiles(event)) { event.preventDefault(); document.body.dataset.drop = '1'; } });
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) delete document.body.dataset.drop; });
document.addEventListener('drop', (event) => {
  delete document.body.dataset.drop;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  event.stopPropagation();
  document.body.dataset.view = 'chat';
  for (const file of event.dataTransfer.files) add(file);
}, true);
