// What people think: props.value = {look, total, corrected, asked, ...} or {look, refused}. Counted when the part is opened,
// another period chosen or a recount asked for, never by itself: it reads the whole record.
const PERIODS = ['month', 'quarter', 'year', 'ever'];
const look = { period: 'quarter' };
const [above, below] = around();

const ask = () => { above.classList.add('waits'); trigger('look', { look: { ...look } }); };

function periods() {
  const row = make('div', 'rp-chips');
  for (const period of PERIODS) {
    const chip = make('button', 'rp-period', rpWord('period_' + period));
    chip.setAttribute('aria-pressed', look.period === period);
    chip.onclick = () => { look.period = period; ask(); draw(); };
    row.append(chip);
  }
  const again = make('button', 'rp-small', rpWord('recount'));
  again.onclick = ask;
  row.append(again);
  return row;
}

function figure(name, one) {
  const big = one.enough ? percent(one.share) : '–';
  const under = one.enough ? rpWord('interval_of', { low: Math.round(100 * one.low), high: Math.round(100 * one.high), n: one.n }) : rpWord('not_enough', { n: one.n });
  const node = make('div', 'rp-count', undefined, [make('span', '', rpWord(name)), make('b', '', big), make('span', 'rp-under', under)]);
  node.title = rpWord(name + '_about');
  return node;
}

// Shares as bars with their interval as a thin line over them: [{name, part, n, share, low, high, enough}].
function bars(title, shares) {
  const lines = shares.filter((one) => one.n > 0).map((one) => {
    const track = make('div', 'rp-track');
    if (one.enough) {
      const bar = make('i'), range = make('u');
      bar.style.width = length(one.share);
      range.style.left = length(one.low);
      range.style.width = length(one.high - one.low);
      track.append(bar, range);
    }
    return make('div', 'rp-measure', undefined, [make('span', '', one.name), track, make('span', 'rp-quiet', interval(one))]);
  });
  return make('section', '', undefined, [make('h3', '', title), ...(lines.length ? lines : [make('p', 'rp-quiet', rpWord('nothing_yet'))])]);
}

function openings(value) {
  const most = value.openings[0]?.[1] ?? 1;
  const lines = value.openings.map(([words, n]) => {
    const bar = make('i');
    bar.style.width = length(n / most);
    return make('div', 'rp-measure', undefined, [make('span', '', words + ' …'), make('div', 'rp-track', undefined, [bar]), make('span', 'rp-quiet', String(n))]);
  });
  return make('section', '', undefined, [make('h3', '', rpWord('openings')), make('p', 'rp-quiet', rpWord('openings_about', { n: value.questions })), ...lines]);
}

function exports() {
  const row = make('div', 'rp-chips');
  const button = (label, give) => {
    const node = make('button', 'rp-small', label);
    node.onclick = async () => {
      node.disabled = true;
      const file = await rpAsk(give());
      node.disabled = false;
      if (file) save(file);
    };
    row.append(node);
  };
  const apart = (text) => row.append(make('span', 'rp-quiet', text));
  apart(rpWord('export_numbers'));
  for (const kind of ['csv', 'json']) button(kind.toUpperCase(), () => server.numbers([look, kind, rpSpoken]));
  apart(rpWord('export_record'));
  for (const form of ['own', 'sft', 'kto', 'dpo']) button(rpWord('form_' + form), () => server.record(form));
  return row;
}

function draw() {
  const value = props.value;
  const none = value?.total?.n === 0; // plots of nothing are bare axes
  above.classList.remove('waits');
  element.toggleAttribute('data-empty', !value || Boolean(value.refused) || none);
  if (!value) return above.replaceChildren(periods());
  if (value.refused) { below.replaceChildren(); return above.replaceChildren(make('p', 'rp-quiet rp-refused', value.refused)); }
  above.replaceChildren(periods(), make('div', 'rp-counts', undefined,
    [figure('share_up', value.total), figure('share_corrected', value.corrected), figure('share_asked', value.asked)]),
  ...(none ? [make('p', 'rp-quiet rp-none-yet', rpWord('no_thumbs_here'))] : []));
  below.replaceChildren(
    make('h2', '', rpWord('corrected_most')), make('p', 'rp-quiet', rpWord('corrected_about')),
    make('div', 'rp-pair', undefined, [bars(rpWord('by_persona'), value.corrected_personas), bars(rpWord('by_version'), value.corrected_versions)]),
    ...(value.openings.length ? [openings(value)] : []),
    make('h2', '', rpWord('export')), exports(),
    make('p', 'rp-quiet rp-at', rpWord('counted_at', { at: when(value.at) })));
}
watch('value', draw);
draw();
whenShown('feedback', ask);
// 'look'
