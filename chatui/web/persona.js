// Who replies, and how: a button that names the conversation's persona, and a panel to choose another, to make one's
// own, and to set the sampling. chat.js hands over what the conversation was opened with.
const button = make('button', 'rp-persona');
button.setAttribute('aria-haspopup', 'dialog');
element.appendChild(button);
const panel = make('div', 'rp-panel');
panel.setAttribute('role', 'dialog');
panel.hidden = true;
document.body.append(panel);
let opening = { persona: '', persona_id: '', shipped: false, system_prompt: '', sampling: {}, base: {} }, known = null;
let kept = null; // a persona on its way: {form, name}; a refusal loses no text

const nameOf = (it) => it.persona ? (it.shipped ? rpWord('persona_' + it.persona) : it.persona) : rpWord('persona_none');

window.rpOpening = (value) => {
  const before = JSON.stringify(opening);
  opening = value;
  document.body.dataset.chat = value.conv ? 'old' : 'new';
  button.textContent = nameOf(value);
  button.title = rpWord('persona_title');
  button.classList.toggle('on', value.persona !== '' || Object.keys(value.sampling).length > 0);
  const limits = document.querySelector('#rp-limits');
  document.body.dataset.temporary = value.temporary ? 'yes' : 'no';
  if (limits) {
    limits.textContent = [value.temporary && rpWord('temporary_hint'),
      value.shipped && value.persona === 'health' && rpWord('persona_health_about')].filter(Boolean).join(' ');
  }
  if (kept && value.problem) {
    panel.replaceChildren(kept.form); // what was written is still in it
    panel.hidden = false;
  } else if (kept?.name === value.persona) kept = null;
  else if (value.problem && !panel.hidden && !panel.querySelector('form')) again(); // what was not deleted is back
  if (!panel.hidden && JSON.stringify(value) !== before && !panel.querySelector('form')) redraw();
};
const redraw = steady(() => { if (!panel.querySelector('form')) draw(); }, panel);

// ---- who replies

function card(persona) {
  const row = make('div', 'rp-choice'), pick = make('button', 'rp-pick');
  const now = opening.persona_id === persona.id;
  pick.setAttribute('aria-pressed', now);
  pick.append(make('b', '', persona.name), make('span', '', persona.about));
  pick.onclick = () => { close(); trigger('choose', { id: persona.id, ...rpGo('', rpTemporary()) }); };
  row.append(pick);
  if (persona.own) {
    const drop = make('button', 'rp-drop', '×');
    drop.title = rpWord('remove');
    drop.setAttribute('aria-label', rpWord('remove'));
    row.append(twice(drop, 'drop ' + persona.id, () => remove(persona)));
  }
  return row;
}

// Gone from the list at once: there is no undo, so it was asked twice.
function remove(persona) {
  known.personas = known.personas.filter((one) => one.id !== persona.id);
  draw();
  panel.querySelector('.rp-pick').focus();
  trigger('drop', { id: persona.id });
}

function form() {
  const box = make('form'), name = make('input'), prompt = make('textarea'), foot = make('div', 'rp-panel-foot');
  Object.assign(name, { required: true, maxLength: 60, placeholder: rpWord('persona_name') });
  Object.assign(prompt, { required: true, maxLength: 8000, rows: 5, placeholder: rpWord('persona_prompt') });
  const cancel = make('button', 'rp-cancel', rpWord('cancel'));
  cancel.type = 'button';
  cancel.onclick = draw;
  foot.append(make('button', 'rp-save', rpWord('save')), cancel);
  box.append(make('div', 'rp-card-title', rpWord('persona_new')), name, prompt,
    make('div', 'rp-hint', rpWord('persona_new_hint')), foot);
  box.onsubmit = (event) => {
    event.preventDefault();
    kept = { form: box, name: name.value.trim().replace(/\s+/g, ' ') };
    trigger('keep', { name: name.value, prompt: prompt.value, sampling: opening.sampling, ...rpGo('', rpTemporary()) });
    close();
  };
  panel.replaceChildren(box);
  name.focus();
}

// ---- how the next token is picked

function slider(name) {
  const [low, high, whole] = known.bounds[name], row = make('label', 'rp-slide');
  const range = make('input'), shown = make('output'), value = opening.sampling[name] ?? known.defaults[name];
  Object.assign(range, { type: 'range', min: low, max: high, step: whole ? (high > 1000 ? 16 : 1) : 0.05 });
  range.value = value;
  range.dataset.name = name;
  range.title = rpWord('sampling_' + name + '_about');
  shown.textContent = value;
  range.oninput = () => { shown.textContent = range.value; };
  range.onchange = () => {
    const sampling = { ...opening.sampling, [name]: Number(range.value) };
    if (sampling[name] === known.defaults[name]) delete sampling[name];
    trigger('set_sampling', { sampling });
  };
  row.append(make('span', '', rpWord('sampling_' + name)), range, shown);
  return row;
}

function draw() {
  const none = { id: '', name: rpWord('persona_none'), about: rpWord('persona_none_about'), own: false };
  const add = make('button', 'rp-small', rpWord('persona_new'));
  add.onclick = form;
  const reset = make('button', 'rp-small', rpWord('reset'));
  reset.onclick = () => trigger('set_sampling', { sampling: opening.base });
  const who = make('div', 'rp-panel-title'), how = make('div', 'rp-panel-title');
  who.append(make('b', '', rpWord('persona_title')), add);
  how.append(make('b', '', rpWord('sampling')), reset);
  panel.replaceChildren(who, ...[none, ...known.personas].map(card), make('div', 'rp-hint', rpWord('persona_hint')),
    how, ...Object.keys(known.bounds).map(slider));
  if (opening.system_prompt) {
    const told = make('details', 'rp-told');
    told.append(make('summary', '', rpWord('system_prompt')), make('p', '', opening.system_prompt));
    panel.append(told);
  }
}

async function again() {
  known = await rpAsk(server.personas(rpSpoken)) ?? known;
  if (known && (panel.hidden || !panel.querySelector('form'))) draw(); // not over what is being written
}

async function open() {
  await again();
  if (!known) return;
  panel.hidden = false;
  const place = button.getBoundingClientRect();
  panel.style.top = place.bottom + 6 + 'px';
  panel.style.right = Math.max(8, innerWidth - place.right) + 'px';
  panel.querySelector('[aria-pressed=true]')?.focus();
}
function close() { panel.hidden = true; }

button.addEventListener('click', (event) => { event.stopPropagation(); if (panel.hidden) open(); else close(); });
panel.addEventListener('click', (event) => event.stopPropagation());
panel.addEventListener('keydown', (event) => {
  event.stopPropagation();
  if (event.key === 'Escape') { close(); button.focus(); }
});
document.addEventListener('click', close);
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') close(); });
window.rpOpening(opening);
// 'choose' 'set_sampling' 'keep' 'drop'
