/* Tables: sorting by a heading, choice of columns, filters, and moving from cell to cell with the keyboard. */
const Tables = (() => {
  const valueOf = (row, index) => {
    const cell = row.cells[index];
    const text = cell.dataset.value ?? cell.textContent;
    const number = text === '' ? NaN : Number(text);
    return { text, number };
  };

  /* Missing values stay last whichever way a column is sorted. */
  function compare(a, b, sign) {
    if ((a.text === '') !== (b.text === '')) return a.text === '' ? 1 : -1;
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text, 'en', { numeric: true });
  }

  function sort(table, head, direction) {
    const index = head.cellIndex;
    const body = table.tBodies[0];
    const sign = direction === 'descending' ? -1 : 1;
    const rows = [...body.rows].map((row) => [valueOf(row, index), row]);
    rows.sort((a, b) => compare(a[0], b[0], sign));
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', direction);
  }

  function sortable(table) {
    table.tHead.addEventListener('click', (event) => {
      const head = event.target.closest('button[data-sort]')?.closest('th');
      if (!head) return;
      const best = head.classList.contains('num') && !('low' in head.dataset) ? 'descending' : 'ascending';
      const turned = best === 'descending' ? 'ascending' : 'descending';
      sort(table, head, head.getAttribute('aria-sort') === best ? turned : best);
    });
  }

  /* One cell is in the order of tabs; arrows move from there, Enter and Space open. */
  function cells(table, open) {
    const inside = (cell) => cell?.matches('td.num[data-key], td.cell, td.class-column') && !cell.hidden;
    const usable = (row) => [...row.cells].filter(inside);
    const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden && usable(row).length);
    const give = (cell, focus) => {
      table.querySelector('td[tabindex="0"]')?.setAttribute('tabindex', '-1');
      cell?.setAttribute('tabindex', '0');
      if (focus) cell?.focus();
    };
    give(usable(table.tBodies[0].rows[0] ?? { cells: [] })[0], false);
    table.addEventListener('click', (event) => {
      const cell = event.target.closest('td');
      if (!inside(cell)) return;
      give(cell, true);
      open(cell);
    });
    table.addEventListener('keydown', (event) => {
      const cell = event.target.closest('td');
      if (!inside(cell)) return;
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault();
        open(cell);
        return;
      }
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const all = rows();
      const row = all[all.indexOf(cell.parentElement) + step[0]];
      const line = row ? usable(row) : [];
      const column = usable(cell.parentElement).indexOf(cell) + step[1];
      if (line[column]) give(line[column], true);
    });
  }

  const tool = (section, name) => section.querySelector(`[data-tool="${name}"]`);

  function said(section, table) {
    const rows = [...table.tBodies[0].rows].filter((row) => !('idle' in row.dataset));
    const shown = rows.filter((row) => !row.hidden).length;
    tool(section, 'said').textContent = shown === rows.length ? '' : `${shown} of ${rows.length} rows`;
  }

  function leaderboard(section, classTable) {
    const table = section.querySelector('table');
    const heads = [...table.tHead.rows[0].cells];
    section.querySelector('form').hidden = false;
    const columns = () => {
      const set = tool(section, 'set').value;
      heads.forEach((head, index) => {
        if (!head.dataset.key) return;
        const shown = set === '*' || head.dataset.sets.split('|').includes(set);
        head.hidden = !shown;
        for (const row of table.tBodies[0].rows) row.cells[index].hidden = !shown;
      });
    };
    const filter = () => {
      const wanted = tool(section, 'name').value.trim().toLowerCase();
      for (const row of table.tBodies[0].rows) {
        const named = row.dataset.name.toLowerCase().includes(wanted);
        const group = tool(section, 'group')?.value ?? '*';
        const other = group !== '*' && row.dataset.group !== group;
        const empty = 'idle' in row.dataset && ![...row.cells].some((c) => c.dataset.key && !c.hidden && c.dataset.value);
        row.hidden = !named || other || empty || ('marked' in row.dataset && !tool(section, 'marked').checked);
      }
      said(section, table);
    };
    const ofClass = () => {
      const chosen = tool(section, 'class').value;
      const source = chosen === '' ? null : classTable?.querySelector(`tr[data-class="${chosen}"]`);
      const head = heads.find((h) => h.classList.contains('class-column'));
      head.hidden = !source;
      head.firstElementChild.textContent = source ? `IoU of ${source.dataset.name}` : '';
      for (const row of table.tBodies[0].rows) {
        const cell = row.cells[head.cellIndex];
        const from = source?.querySelector(`td.cell[data-entry="${row.dataset.entry}"]`);
        cell.hidden = !source;
        cell.dataset.value = from?.dataset.value ?? '';
        cell.textContent = from?.textContent.trim() ?? '-';
        cell.dataset.class = chosen;
      }
      if (source) sort(table, head, 'descending');
      else sort(table, heads.find((h) => h.dataset.key && !h.hidden) ?? heads[0], 'descending');
    };
    tool(section, 'set').addEventListener('change', () => {
      columns();
      filter();
    });
    tool(section, 'class').addEventListener('change', ofClass);
    tool(section, 'group')?.addEventListener('change', filter);
    tool(section, 'name').addEventListener('input', filter);
    tool(section, 'marked').addEventListener('change', filter);
    section.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
    columns();
    filter();
    sortable(table);
    return table;
  }

  function classes(section) {
    const table = section.querySelector('table');
    if (!table) return null;
    section.querySelector('form').hidden = false;
    const filter = () => {
      const wanted = tool(section, 'name').value.trim().toLowerCase();
      const group = tool(section, 'group').value;
      for (const row of table.tBodies[0].rows) {
        const named = row.dataset.name.toLowerCase().includes(wanted);
        row.hidden = !named || (group !== '' && row.dataset.group !== group);
      }
      said(section, table);
    };
    tool(section, 'name').addEventListener('input', filter);
    tool(section, 'group').addEventListener('change', filter);
    section.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
    filter();
    sortable(table);
    return table;
  }

  return { leaderboard, classes, cells };
})();
