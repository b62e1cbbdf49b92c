// Whether what is sent next gets two replies, side by side; stays on until it is switched off.
const toggle = make('button', 'rp-two');
toggle.title = rpWord('compare');
toggle.setAttribute('aria-label', rpWord('compare'));
toggle.setAttribute('aria-pressed', 'false');
toggle.innerHTML = rpIcon('<rect x="3.5" y="5" width="7" height="14" rx="2"/><rect x="13.5" y="5" width="7" height="14" rx="2"/>');
element.append(toggle);
window.rpComparing = () => toggle.getAttribute('aria-pressed') === 'true';
toggle.onclick = () => {
  toggle.setAttribute('aria-pressed', String(!window.rpComparing()));
  document.querySelector('#rp-ask textarea')?.focus();
};
