// Tells the server that this tab is gone: its temporary chat is forgotten, and it follows no reply any more. props.value is
// the tab's session. A beacon, and not Gradio's own `unload`, which holds a connection open per tab: a browser has six
// for a host, so the seventh tab would not load, and in six open ones no thumb could be sent.
addEventListener('pagehide', () => {
  if (!props.value) return;
  const said = JSON.stringify({ data: [], session_hash: props.value });
  navigator.sendBeacon(new URL('gradio_api/run/leave_tab', document.baseURI), new Blob([said], { type: 'application/json' }));
});
// 'leave'
