// Which model replies, and in which version: props.value = {phase, message, model, versions, notice, speaks};
// `speaks` tells, by the page's languages, whether the model was taught each. Where something is wrong the pill is a
// button that says it: a phone has no room for the sentence, and no pointer to wait for a title.
const pill = make('button', 'rp-pill');
pill.onclick = (event) => { event.stopPropagation(); rpTell(pill.title); };
element.appendChild(pill);

function draw() {
  const value = props.value;
  if (!value) return;
  const hint = document.querySelector('#rp-speaks');
  if (hint) hint.textContent = value.speaks[rpSpoken] === false ? rpWord('not_spoken', { model: value.model }) : '';
  pill.dataset.phase = value.notice ? 'failed' : value.phase;
  const versions = value.versions.map(versionText).join(', ');
  const says = value.phase === 'ready' ? versions : rpWord(value.phase === 'failed' ? 'failed' : 'loading');
  pill.title = value.notice || value.message;
  pill.disabled = !pill.title || (value.phase === 'ready' && !value.notice);
  pill.replaceChildren(make('b', '', value.model), make('span', '', says));
  if (value.notice || (value.message && value.phase !== 'ready')) {
    pill.append(make('em', '', value.notice || value.message));
  }
}
watch('value', draw);
draw();
