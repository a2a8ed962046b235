/* Where a number comes from: a dialog with its rule, its interval and the runs behind it. */
const Origins = (() => {
  const dialog = document.getElementById('origin');
  const body = dialog.querySelector('.body');

  const line = (text, tag = 'p') => {
    const element = document.createElement(tag);
    element.textContent = text;
    body.append(element);
    return element;
  };

  function open(board, data, title, sentences, entry) {
    dialog.querySelector('h2').textContent = title;
    body.replaceChildren();
    sentences.filter(Boolean).forEach((text) => line(text));
    const { id, version, hash } = data.protocol;
    line(`Protocol ${id} v${version}, hash ${hash}.`);
    const runs = data.behind[entry] ?? [];
    runs.forEach((index) => {
      const origin = board.querySelectorAll('.origin')[index];
      line(`Run ${origin.querySelector('summary').textContent}`, 'h3');
      body.append(origin.querySelector('dl').cloneNode(true));
    });
    if (!runs.length) line('No run stands behind this row.');
    dialog.showModal();
  }

  function ofScore(board, data, cell) {
    const row = cell.closest('tr');
    const head = cell.closest('table').tHead.rows[0].cells[cell.cellIndex].textContent.trim();
    const value = cell.querySelector('.v').textContent;
    const beside = cell.querySelector('.beside')?.textContent;
    const spread = cell.querySelector('.spread')?.textContent;
    open(board, data, `${head} of ${row.dataset.name}: ${value}`, [
      spread && `${value} ${spread}: mean and standard deviation over training seeds.`,
      beside && `${beside}: 95 % interval over videos.`,
      data.heads[cell.dataset.key],
      data.convention && `Convention ${data.convention}. ${data.rule}`,
    ], Number(row.dataset.entry || -1));
  }

  function ofClass(board, data, cell) {
    const row = cell.closest('tr');
    const table = cell.closest('table');
    const name = table.tHead.rows[0].cells[cell.cellIndex].textContent.trim();
    const number = (text) => Number(text).toLocaleString('en');
    open(board, data, `IoU of ${row.dataset.name}, ${name}: ${cell.textContent.trim()}`, [
      `${number(row.dataset.truth)} truth pixels in ${row.dataset.videos} videos` +
        (cell.dataset.acc ? `, ${Number(cell.dataset.acc).toFixed(1)} % of them right` : '') +
        (cell.dataset.prediction ? `; ${number(cell.dataset.prediction)} pixels were given to this class.` : '.'),
      'IoU: pixels that are right, divided by pixels that are this class in truth or prediction.',
      data.convention && `Convention ${data.convention}. ${data.rule}`,
    ], Number(cell.dataset.entry));
  }

  return { ofScore, ofClass };
})();
