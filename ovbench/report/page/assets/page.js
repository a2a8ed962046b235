/* Puts the parts together. */
document.documentElement.classList.add('script-on');

(() => {
  const button = document.getElementById('theme');
  const order = ['system', 'light', 'dark'];
  let now = 0;
  button.hidden = false;
  button.addEventListener('click', () => {
    now = (now + 1) % order.length;
    const name = order[now];
    if (name === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.title = `Colours: ${name === 'system' ? 'as the system' : name}`;
    button.setAttribute('aria-label', button.title);
    button.textContent = { system: '◐', light: '○', dark: '●' }[name];
  });
})();

for (const board of document.querySelectorAll('.board')) {
  const data = JSON.parse(board.querySelector('script.behind').textContent);
  const classes = Tables.classes(board.querySelector('.classes'));
  const scores = Tables.leaderboard(board.querySelector('.leaderboard'), classes);
  Tables.cells(scores, (cell) => {
    if (!cell.dataset.value) return;
    if (cell.dataset.key) Origins.ofScore(board, data, cell);
    else {
      const row = classes.querySelector(`tr[data-class="${cell.dataset.class}"]`);
      Origins.ofClass(board, data, row.querySelector(`td.cell[data-entry="${cell.closest('tr').dataset.entry}"]`));
    }
  });
  if (classes) Tables.cells(classes, (cell) => cell.dataset.value && Origins.ofClass(board, data, cell));
  Viewer.start(board.querySelector('.videos'));
}
