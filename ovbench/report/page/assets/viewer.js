/* Videos: frames, truth and label maps of several methods side by side. */
const Viewer = (() => {
  const OTHER = 254;
  const VOID = 255;
  const DIM = 0.22;
  const VEIL = 0.6; /* abstention and void: the frame shows through */
  const FEW = 12; /* classes in the legend at first, largest first */
  const TOGETHER = 6; /* methods shown at first */

  /* Base64 of zlib's format; each frame was combined by XOR with the one before. */
  async function unpack(text, pixels) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    const found = new Uint8Array(await new Response(stream).arrayBuffer());
    for (let i = pixels; i < found.length; i += 1) found[i] ^= found[i - pixels];
    return found;
  }

  async function pictures(uris) {
    return Promise.all(uris.map(async (uri) => {
      const picture = new Image();
      picture.src = uri;
      await picture.decode();
      return picture;
    }));
  }

  function start(section) {
    const source = section.querySelector('script.footage');
    if (!source) return;
    if (typeof DecompressionStream === 'undefined') {
      section.querySelector('[data-view="broken"]').hidden = false;
      return;
    }
    const data = JSON.parse(source.textContent);
    const view = (name) => section.querySelector(`[data-view="${name}"]`);
    const tiles = section.querySelector('.tiles');
    const state = { video: 0, frame: 0, shown: new Set(), alone: null, cross: null, timer: 0, many: false, loaded: null, ticket: 0 };
    const shown = data.methods.length - data.apart.length;
    data.methods.forEach((_, i) => i < (shown ? Math.min(shown, TOGETHER) : TOGETHER) && state.shown.add(i));
    section.querySelector('.viewer').hidden = false;

    const colorOf = (c) => (c === OTHER ? data.other : c === VOID ? data.void : data.classes[c].color);
    const nameOf = (c) => (c === OTHER ? 'abstained' : c === VOID ? 'not evaluated'
      : data.classes[c].name + (data.classes[c].unseen ? ' *' : ''));
    const palette = new Uint8Array(256 * 3);
    for (let c = 0; c < 256; c += 1) {
      if (c < data.classes.length || c >= OTHER) palette.set(colorOf(c), 3 * c);
    }

    /* What became of a pixel: an index of data.errors. */
    const fate = (truth, guess) => {
      if (truth === VOID) return 4;
      if (guess === truth) return 0;
      if (guess === OTHER) return 3;
      return data.classes[truth].unseen && !data.classes[guess]?.unseen ? 2 : 1;
    };

    async function load() {
      const ticket = (state.ticket += 1);
      const video = data.videos[state.video];
      const pixels = video.h * video.w;
      const maps = new Map();
      const [sheets, truth] = await Promise.all([
        pictures(video.image.uris), video.truth ? unpack(video.truth, pixels) : null]);
      const need = [...state.shown].sort((a, b) => a - b);
      await Promise.all(need.map(async (m) => maps.set(m, await unpack(video.maps[m], pixels))));
      if (ticket !== state.ticket) return;
      state.loaded = { video, pixels, sheets, truth, maps };
      kept = { of: '', looks: new Map() };
      state.frame = Math.min(state.frame, video.frames.length - 1);
      view('frame').max = video.frames.length - 1;
      build(need);
      draw();
      section.dataset.ready = video.id;
    }

    function build(methods) {
      const { video } = state.loaded;
      const names = [['Frame', 'image'], ['Truth', 'truth'], ...methods.map((m) => [data.methods[m], m])];
      tiles.replaceChildren(...names.map(([name, what]) => {
        const tile = document.createElement('figure');
        tile.className = 'tile';
        tile.dataset.what = what;
        const caption = document.createElement('figcaption');
        const title = document.createElement('span');
        title.textContent = name;
        const score = document.createElement('span');
        score.className = 'score';
        caption.append(title, score);
        const canvas = document.createElement('canvas');
        canvas.width = video.w;
        canvas.height = video.h;
        canvas.setAttribute('role', 'img');
        const said = document.createElement('span');
        said.className = 'said';
        tile.append(caption, canvas, said);
        return tile;
      }));
    }

    const frameOf = (bytes) => bytes?.subarray(state.frame * state.loaded.pixels, (state.frame + 1) * state.loaded.pixels);

    function paint(map, truth, errors) {
      const { video, pixels } = state.loaded;
      const picture = new ImageData(video.w, video.h);
      const out = picture.data;
      for (let i = 0; i < pixels; i += 1) {
        const color = errors && truth ? data.errors[fate(truth[i], map[i])][1] : null;
        out[4 * i] = color ? color[0] : palette[3 * map[i]];
        out[4 * i + 1] = color ? color[1] : palette[3 * map[i] + 1];
        out[4 * i + 2] = color ? color[2] : palette[3 * map[i] + 2];
        const bright = state.alone === null || map[i] === state.alone || (errors && truth && truth[i] === state.alone);
        out[4 * i + 3] = 255 * (bright ? (color || map[i] < OTHER ? 1 : VEIL) : DIM);
      }
      const layer = document.createElement('canvas');
      layer.width = video.w;
      layer.height = video.h;
      layer.getContext('2d').putImageData(picture, 0, 0);
      return layer;
    }

    function share(map, truth) {
      let right = 0;
      let all = 0;
      for (let i = 0; i < map.length; i += 1) {
        if (truth[i] === VOID) continue;
        all += 1;
        right += map[i] === truth[i];
      }
      return all ? `${((100 * right) / all).toFixed(1)} % right` : '';
    }

    function mapOf(what) {
      const { video, truth, maps } = state.loaded;
      if (what === 'image') return null;
      if (what === 'truth') return video.annotated[state.frame] ? frameOf(truth) : null;
      return video.have[Number(what)][state.frame] ? frameOf(maps.get(Number(what))) : null;
    }

    /* What a tile shows, kept while only the cross moves. */
    let kept = { of: '', looks: new Map() };
    function look(what, truth, errors) {
      const of = [state.loaded.video.id, state.frame, errors, state.alone].join('|');
      if (kept.of !== of) kept = { of, looks: new Map() };
      if (!kept.looks.has(what)) {
        const map = mapOf(what);
        const counts = new Map();
        map?.forEach((c) => counts.set(c, (counts.get(c) ?? 0) + 1));
        kept.looks.set(what, {
          map,
          counts,
          layer: map && paint(map, truth, errors && what !== 'truth'),
          score: map && truth && what !== 'truth' ? share(map, truth) : '',
        });
      }
      return kept.looks.get(what);
    }

    function draw() {
      const { video, sheets } = state.loaded;
      const truth = mapOf('truth');
      const errors = view('mode').value === 'errors';
      const opacity = view('opacity').value / 100;
      const present = new Map();
      for (const tile of tiles.children) {
        const { what } = tile.dataset;
        const { map, counts, layer, score } = look(what, truth, errors);
        const canvas = tile.querySelector('canvas');
        const pen = canvas.getContext('2d');
        pen.globalAlpha = 1;
        const row = (state.frame % video.image.per) * video.h;
        const sheet = sheets[Math.floor(state.frame / video.image.per)];
        pen.drawImage(sheet, 0, row, video.w, video.h, 0, 0, video.w, video.h);
        if (map) {
          counts.forEach((n, c) => present.set(c, (present.get(c) ?? 0) + n * (what === 'truth' ? 1000 : 1)));
          pen.globalAlpha = opacity;
          pen.drawImage(layer, 0, 0);
        }
        const gap = what !== 'image' && !map ? (what === 'truth' ? 'not annotated' : 'no label map') : '';
        tile.querySelector('.score').textContent = score || gap;
        const name = tile.querySelector('figcaption span').textContent;
        canvas.setAttribute('aria-label', `${name}, frame ${video.frames[state.frame]}${score || gap ? `: ${score || gap}` : ''}`);
        mark(tile, map);
      }
      view('frame').value = state.frame;
      view('frame').setAttribute('aria-valuetext', `frame ${video.frames[state.frame]}`);
      view('where').textContent = `${video.frames[state.frame]} (${state.frame + 1} of ${video.frames.length})`;
      legend(errors && truth ? null : [...present.keys()].sort((a, b) => present.get(b) - present.get(a) || a - b));
    }

    function mark(tile, map) {
      const said = tile.querySelector('.said');
      said.textContent = '';
      if (!state.cross) return;
      const { video } = state.loaded;
      const [x, y] = state.cross;
      const pen = tile.querySelector('canvas').getContext('2d');
      pen.globalAlpha = 1;
      pen.globalCompositeOperation = 'difference';
      pen.fillStyle = '#fff';
      pen.fillRect(x - 4, y, 3, 1);
      pen.fillRect(x + 2, y, 3, 1);
      pen.fillRect(x, y - 4, 1, 3);
      pen.fillRect(x, y + 2, 1, 3);
      pen.globalCompositeOperation = 'source-over';
      said.textContent = map ? nameOf(map[y * video.w + x]) : `pixel ${x}, ${y}`;
      said.title = said.textContent;
    }

    function key(color, name, tag) {
      const item = document.createElement(tag);
      const swatch = document.createElement('i');
      swatch.className = 'swatch';
      swatch.style.background = `rgb(${color.join(' ')})`;
      item.append(swatch, name);
      return item;
    }

    function legend(present) {
      const box = view('legend');
      if (!present) {
        box.replaceChildren(...data.errors.map(([name, color]) => {
          const item = key(color, name, 'span');
          item.className = 'key';
          return item;
        }));
        return;
      }
      const few = state.many || present.length <= FEW ? present : present.filter((c, i) => i < FEW || c === state.alone);
      const again = document.activeElement?.closest?.('.legend') === box ? document.activeElement.dataset.class : null;
      box.replaceChildren(...few.map((c) => {
        const item = key(colorOf(c), nameOf(c), 'button');
        item.type = 'button';
        item.dataset.class = c;
        item.setAttribute('aria-pressed', String(state.alone === c));
        return item;
      }));
      if (present.length > FEW) {
        const more = document.createElement('button');
        more.type = 'button';
        more.dataset.class = 'more';
        more.textContent = state.many ? 'fewer' : `${present.length - few.length} more`;
        box.append(more);
      }
      if (again !== null) box.querySelector(`[data-class="${again}"]`)?.focus();
      if (present.some((c) => data.classes[c]?.unseen)) {
        const star = document.createElement('span');
        star.className = 'hint';
        star.style.margin = '.2rem 0';
        star.textContent = '* unseen in training';
        box.append(star);
      }
    }

    const go = (frame) => {
      if (!state.loaded) return;
      const count = state.loaded.video.frames.length;
      state.frame = (frame + count) % count;
      draw();
    };
    const play = (on) => {
      clearInterval(state.timer);
      state.timer = on ? setInterval(() => go(state.frame + 1), 160) : 0;
      view('play').textContent = on ? 'Pause' : 'Play';
      view('play').setAttribute('aria-pressed', String(on));
    };
    const choose = (video) => {
      state.video = (video + data.videos.length) % data.videos.length;
      view('video').value = state.video;
      load();
    };

    view('methods').append(...data.methods.map((name, m) => {
      const label = document.createElement('label');
      const box = document.createElement('input');
      box.type = 'checkbox';
      box.checked = state.shown.has(m);
      box.addEventListener('change', () => {
        if (box.checked) state.shown.add(m);
        else state.shown.delete(m);
        load();
      });
      label.append(box, name);
      return label;
    }));
    view('video').addEventListener('change', () => choose(Number(view('video').value)));
    view('frame').addEventListener('input', () => go(Number(view('frame').value)));
    view('opacity').addEventListener('input', () => state.loaded && draw());
    view('mode').addEventListener('change', () => state.loaded && draw());
    view('back').addEventListener('click', () => go(state.frame - 1));
    view('on').addEventListener('click', () => go(state.frame + 1));
    view('play').addEventListener('click', () => play(!state.timer));
    view('legend').addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (!button) return;
      if (button.dataset.class === 'more') {
        state.many = !state.many;
        draw();
        return;
      }
      const chosen = Number(button.dataset.class);
      state.alone = state.alone === chosen ? null : chosen;
      draw();
    });
    section.querySelector('form').addEventListener('submit', (event) => event.preventDefault());

    const point = (x, y) => {
      const { w, h } = state.loaded.video;
      state.cross = [Math.max(0, Math.min(w - 1, x)), Math.max(0, Math.min(h - 1, y))];
      draw();
    };
    tiles.addEventListener('pointermove', (event) => {
      const canvas = event.target.closest('canvas');
      if (!canvas || !state.loaded) return;
      const box = canvas.getBoundingClientRect();
      const { w, h } = state.loaded.video;
      point(Math.floor(((event.clientX - box.left) / box.width) * w), Math.floor(((event.clientY - box.top) / box.height) * h));
    });
    tiles.addEventListener('pointerleave', () => {
      state.cross = null;
      if (state.loaded) draw();
    });

    tiles.addEventListener('keydown', (event) => {
      if (!state.loaded || event.ctrlKey || event.metaKey || event.altKey) return;
      const { w, h } = state.loaded.video;
      const [x, y] = state.cross ?? [w >> 1, h >> 1];
      const step = Math.max(1, Math.round(w / 80));
      const moves = {
        ArrowLeft: () => (event.shiftKey ? point(x - step, y) : go(state.frame - 1)),
        ArrowRight: () => (event.shiftKey ? point(x + step, y) : go(state.frame + 1)),
        ArrowUp: event.shiftKey ? () => point(x, y - step) : null,
        ArrowDown: event.shiftKey ? () => point(x, y + step) : null,
        ' ': () => play(!state.timer),
        '[': () => choose(state.video - 1),
        ']': () => choose(state.video + 1),
        e: () => {
          view('mode').value = view('mode').value === 'errors' ? 'classes' : 'errors';
          draw();
        },
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      moves[event.key]();
    });

    /* Nothing is unpacked before somebody comes near. */
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      near.disconnect();
      load();
    }, { rootMargin: '400px' });
    near.observe(section);
  }

  return { start };
})();
