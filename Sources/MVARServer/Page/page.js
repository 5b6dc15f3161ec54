'use strict';

const $ = (id) => document.getElementById(id);
const state = { model: null, classes: [], chosen: null, mode: 'create', job: null, token: null, viewed: null };
const historyLimit = 200;

// ---- The server

try { state.token = sessionStorage.getItem('mvar-token'); } catch { /* A browser may forbid it. */ }

class RequestError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new RequestError(0, 'The server cannot be reached. Is it running?');
  }
  if (response.status === 401) {
    await askForToken(state.token !== null);
    return request(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    const message = body?.error?.message ?? `The server answered ${response.status}.`;
    const after = Number(response.headers.get('Retry-After'));
    throw new RequestError(response.status, message, after > 0 ? after : null);
  }
  return response;
}

function askForToken(wasWrong) {
  const dialog = $('token-dialog');
  $('token-alert').hidden = !wasWrong;
  $('token-alert').textContent = wasWrong ? 'This token is wrong.' : '';
  $('token').value = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      state.token = $('token').value;
      try { sessionStorage.setItem('mvar-token', state.token); } catch { /* It is asked for again then. */ }
      resolve();
    }, { once: true });
  });
}

/** The server-sent events of a response, one [name, value] at a time. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      let name = 'message';
      const data = [];
      for (const line of text.slice(0, end).split('\n')) {
        if (line.startsWith('event: ')) name = line.slice(7);
        if (line.startsWith('data: ')) data.push(line.slice(6));
      }
      if (data.length) yield [name, JSON.parse(data.join('\n'))];
    }
  }
}

function blobOf(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type });
}

const wait = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    reject(new DOMException('', 'AbortError'));
  }, { once: true });
});

// ---- What is said

function say(text) { $('status').textContent = text; }

function complain(text, isWaiting = false) {
  const alert = $('alert');
  alert.textContent = text ?? '';
  alert.classList.toggle('wait', isWaiting);
  alert.hidden = !text;
}

function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

const icon = (name) => $(`icon-${name}`).content.cloneNode(true);

const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

// ---- Classes

function className(entry) { return entry.name ?? `class ${entry.class}`; }

function fold(text) { return text.toLowerCase().replace(/['’.]/g, '').replace(/[-_\s]+/g, ' ').trim(); }

/** Classes that a text may mean: whole names, then beginnings of words, then parts of words. */
function search(text) {
  const wanted = fold(text);
  if (!wanted) return state.classes.slice(0, 60);
  const found = [];
  for (const entry of state.classes) {
    let best = String(entry.class) === wanted ? 0 : Infinity;
    for (const name of entry.folded) {
      if (name === wanted) best = Math.min(best, 0);
      else if (name.startsWith(wanted)) best = Math.min(best, 1);
      else if (` ${name}`.includes(` ${wanted}`)) best = Math.min(best, 2);
      else if (name.includes(wanted)) best = Math.min(best, 3);
    }
    if (String(entry.class).startsWith(wanted)) best = Math.min(best, 2);
    if (best < Infinity) found.push([best, entry]);
  }
  return found.sort((a, b) => a[0] - b[0] || a[1].class - b[1].class).slice(0, 60).map((pair) => pair[1]);
}

const combo = { input: $('class'), list: $('class-list'), shown: [], active: -1 };

function openList() {
  combo.shown = search(combo.input.value);
  combo.list.replaceChildren(...combo.shown.map((entry, index) => element('li', {
    id: `class-${index}`, role: 'option', dataset: { index },
  }, element('span', { textContent: className(entry) }),
  element('small', { textContent: entry.names.slice(1).join(', ') }),
  element('b', { textContent: entry.class }))));
  if (!combo.shown.length) {
    combo.list.append(element('li', { className: 'none', textContent: 'No class is called that.' }));
  }
  combo.list.hidden = false;
  combo.input.setAttribute('aria-expanded', 'true');
  activate(combo.input.value && combo.shown.length ? 0 : -1);
}

function closeList() {
  combo.list.hidden = true;
  combo.input.setAttribute('aria-expanded', 'false');
  combo.input.removeAttribute('aria-activedescendant');
}

function activate(index) {
  combo.active = index;
  [...combo.list.children].forEach((item, i) => item.setAttribute('aria-selected', i === index));
  const item = combo.list.children[index];
  if (index < 0 || !item) return combo.input.removeAttribute('aria-activedescendant');
  combo.input.setAttribute('aria-activedescendant', item.id);
  item.scrollIntoView({ block: 'nearest' });
}

function choose(entry) {
  state.chosen = entry;
  combo.input.value = entry.name ?? entry.class;
  combo.input.removeAttribute('aria-invalid');
  $('class-hint').textContent = entry.name
    ? `Class ${entry.class}` + (entry.names.length > 1 ? ` · also ${entry.names.slice(1).join(', ')}` : '')
    : `Class ${entry.class} of ${state.model.classes}`;
  closeList();
}

combo.input.addEventListener('input', () => {
  state.chosen = null;
  $('class-hint').textContent = '\u00a0';
  openList();
});
combo.input.addEventListener('focus', () => combo.input.select());
combo.input.addEventListener('click', () => { if (combo.list.hidden) openList(); });
combo.input.addEventListener('blur', () => {
  if (!state.chosen && combo.input.value) settleClass();
  closeList();
});
combo.input.addEventListener('keydown', (event) => {
  const isOpen = !combo.list.hidden;
  const last = combo.shown.length - 1;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault();
    if (!isOpen) return openList();
    if (last < 0) return;
    const step = event.key === 'ArrowDown' ? 1 : -1;
    activate(combo.active < 0 ? (step > 0 ? 0 : last) : (combo.active + step + last + 1) % (last + 1));
  } else if (event.key === 'Enter' && isOpen && combo.active >= 0) {
    event.preventDefault();
    choose(combo.shown[combo.active]);
  } else if (event.key === 'Escape' && isOpen) {
    event.preventDefault();
    closeList();
  }
});
// Before the field loses its focus.
combo.list.addEventListener('pointerdown', (event) => event.preventDefault());
combo.list.addEventListener('click', (event) => {
  const item = event.target.closest('[data-index]');
  if (item) choose(combo.shown[item.dataset.index]);
});

/** Takes what is written, where only one class can be meant. */
function settleClass() {
  const wanted = fold(combo.input.value);
  const exact = state.classes.filter((entry) => entry.folded.includes(wanted) || String(entry.class) === wanted);
  if (exact.length === 1) choose(exact[0]);
  return state.chosen;
}

$('surprise').addEventListener('click', () => {
  if (!state.classes.length) return;
  choose(state.classes[Math.floor(Math.random() * state.classes.length)]);
  say(`Class: ${combo.input.value}`);
});

// ---- Settings

for (const id of ['guidance', 'top-k', 'top-p', 'brush-size']) {
  $(id).addEventListener('input', () => showRange(id));
}

function showRange(id) {
  const value = Number($(id).value);
  const text = id === 'guidance' ? value.toFixed(1) : id === 'top-p' ? value.toFixed(2) : String(value);
  $(`${id}-value`).textContent = id === 'top-k' && value === 0 ? 'all' : text;
}

function setRange(id, value) {
  $(id).value = value;
  showRange(id);
}

function resetSettings() {
  const defaults = state.model.defaults;
  setRange('guidance', defaults.guidance);
  setRange('top-k', defaults.top_k);
  setRange('top-p', defaults.top_p);
}
$('reset').addEventListener('click', resetSettings);

function lockSeed(isLocked) {
  $('seed-lock').setAttribute('aria-pressed', isLocked);
  $('seed-lock').title = isLocked ? 'Draw with new seeds again' : 'Keep this seed';
  $('seed-hint').textContent = isLocked ? 'Kept: the same settings give the same picture.' : 'A new one each time.';
}
$('seed-lock').addEventListener('click', () => {
  lockSeed($('seed-lock').getAttribute('aria-pressed') !== 'true');
  if (isLocked() && !$('seed').value) newSeed();
});
$('seed').addEventListener('input', () => { if ($('seed').value) lockSeed(true); });
const isLocked = () => $('seed-lock').getAttribute('aria-pressed') === 'true';

function newSeed() { $('seed').value = crypto.getRandomValues(new Uint32Array(1))[0]; }

function buildCounts(most) {
  const counts = [1, 2, 4, 8, 16].filter((count) => count <= most).slice(0, 4);
  $('count').replaceChildren(...counts.map((count, index) => element('label', {},
    element('input', { type: 'radio', name: 'count', value: count, checked: index === 0 }), String(count))));
}
const count = () => Number(document.querySelector('input[name=count]:checked').value);

// ---- Drawing

$('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!state.job) generate();
});
$('stop').addEventListener('click', () => state.job?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !state.job) $('form').requestSubmit();
});

function parameters() {
  if (!state.chosen && !settleClass()) {
    combo.input.setAttribute('aria-invalid', 'true');
    combo.input.focus();
    throw new RequestError(0, combo.input.value ? `No class is called “${combo.input.value}”; choose one of the list.` : 'Choose a class first.');
  }
  if (!isLocked()) newSeed();
  if (!/^\d{1,20}$/.test($('seed').value)) {
    $('seed').focus();
    throw new RequestError(0, `“${$('seed').value}” is not a seed; write a whole number.`);
  }
  return {
    class: state.chosen.class, n: count(), seed: $('seed').value, stream: true,
    guidance: Number($('guidance').value), top_k: Number($('top-k').value), top_p: Number($('top-p').value),
  };
}

async function generate() {
  complain(null);
  let body, path = 'v1/images/generations';
  try {
    body = parameters();
    if (state.mode === 'edit') {
      path = 'v1/images/edits';
      Object.assign(body, await editing.parameters());
    }
  } catch (error) {
    return complain(error.message);
  }
  const job = new AbortController();
  state.job = job;
  setBusy(true);
  const batch = addBatch(body, state.chosen);
  say(`Drawing ${plural(body.n, 'picture')} of ${className(state.chosen)}`);
  try {
    await draw(path, body, batch, job.signal);
  } catch (error) {
    const isStopped = error.name === 'AbortError';
    batch.fail(isStopped ? 'Stopped' : 'Not drawn');
    if (isStopped) say('Stopped'); else complain(error.message);
  } finally {
    state.job = null;
    setBusy(false);
  }
}

async function draw(path, body, batch, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await request(path, {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal,
      });
      for await (const [name, value] of events(response)) batch.take(name.split('.').pop(), value);
      if (!batch.isDone) throw new RequestError(0, 'The connection broke off before the pictures were finished.');
      return;
    } catch (error) {
      const isBusy = error.status === 429 || (error.status === 503 && error.retryAfter);
      if (!isBusy || attempt > 5) throw error;
      for (let left = error.retryAfter ?? 2; left > 0; left -= 1) {
        complain(`The server is busy. Trying again in ${Math.ceil(left)} s …`, true);
        await wait(Math.min(left, 1), signal);
      }
      complain(null);
    }
  }
}

function setBusy(isBusy) {
  $('generate').disabled = isBusy;
  $('generate-text').textContent = isBusy ? 'Drawing …' : state.mode === 'edit' ? 'Redraw' : 'Generate';
  $('stop').hidden = !isBusy;
}

// ---- Pictures

const batches = [];

function describe(body) {
  return [`guidance ${body.guidance}`, `top-k ${body.top_k || 'all'}`, `top-p ${body.top_p}`].join(' · ');
}

function addBatch(body, entry) {
  const seed = BigInt(body.seed);
  const aspect = body.aspect ?? state.model.aspect;
  const cards = Array.from({ length: body.n }, (_, index) => makeCard(String(seed + BigInt(index)), body, entry, aspect));
  const item = element('li', { className: 'batch' },
    element('header', {}, element('h3', { textContent: className(entry) }),
      element('p', { textContent: (body.image ? 'edit · ' : '') + describe(body) })),
    element('ol', { className: cards.length === 1 ? 'cards one' : 'cards' }, ...cards.map((card) => card.item)));
  $('empty').hidden = true;
  $('history-bar').hidden = false;
  $('batches').prepend(item);
  if (matchMedia('(max-width: 860px)').matches) item.scrollIntoView({ behavior: 'smooth', block: 'center' });
  const batch = {
    item, cards, isDone: false,
    take(kind, value) {
      if (kind === 'error') throw new RequestError(503, value.error.message);
      if (kind === 'queued') for (const card of cards) card.queue(value);
      if (kind === 'partial_image') cards[value.index].preview(value);
      if (kind === 'completed') {
        cards[value.index].finish(value);
        const left = cards.filter((card) => !card.isDone).length;
        batch.isDone = left === 0;
        say(left ? `Picture ${value.index + 1} of ${cards.length} is finished` : `${plural(cards.length, 'picture')} of ${className(entry)} finished`);
      }
    },
    fail(text) { for (const card of cards) card.fail(text); },
    forget() {
      for (const card of cards) card.forget();
      item.remove();
    },
  };
  batches.unshift(batch);
  let kept = 0;
  for (const old of batches.slice()) {
    kept += old.cards.length;
    if (kept > historyLimit && old !== batch) {
      old.forget();
      batches.splice(batches.indexOf(old), 1);
    }
  }
  return batch;
}

function makeCard(seed, body, entry, aspect) {
  const name = className(entry);
  const image = element('img', { alt: '', hidden: true, decoding: 'async' });
  const text = element('span', { className: 'wait', textContent: 'Waiting …' });
  const show = element('button', { type: 'button', className: 'show', disabled: true }, image, text);
  show.setAttribute('aria-label', `${name}, seed ${seed}: waiting`);
  show.style.setProperty('--aspect', aspect);
  const foot = element('div', { className: 'foot' }, element('span', { textContent: `seed ${seed}`, title: `seed ${seed}` }));
  const item = element('li', { className: 'card' }, show, foot);
  const card = {
    item, seed, body, entry, isDone: false, url: null,
    queue({ ahead, estimated_seconds: seconds }) {
      if (image.hidden && ahead > 0) {
        text.textContent = `${plural(ahead, 'picture')} before this one` + (seconds >= 2 ? `, about ${Math.round(seconds)} s` : '');
      }
    },
    put(blob) {
      const old = card.url;
      card.blob = blob;
      card.url = URL.createObjectURL(blob);
      image.onload = image.onerror = () => { if (old) URL.revokeObjectURL(old); };
      image.src = card.url;
      image.hidden = false;
      text.hidden = true;
    },
    preview(value) {
      card.put(blobOf(value.b64_json, 'image/jpeg'));
      show.style.setProperty('--progress', (value.scale + 1) / value.scales);
      item.dataset.scale = value.scale + 1;
      show.setAttribute('aria-label', `${name}, seed ${seed}: scale ${value.scale + 1} of ${value.scales}`);
    },
    finish(value) {
      card.isDone = true;
      card.put(blobOf(value.b64_json, `image/${value.output_format}`));
      card.file = `${fold(name).replaceAll(' ', '-').slice(0, 60)}-seed${seed}.${value.output_format}`;
      card.size = value.size;
      image.alt = `${name}, seed ${seed}`;
      item.classList.add('done');
      show.disabled = false;
      show.setAttribute('aria-label', `${name}, seed ${seed}: open`);
      show.addEventListener('click', () => view(card));
      const download = element('a', { href: card.url, download: card.file, title: 'Download' }, icon('download'));
      download.setAttribute('aria-label', `Download ${name}, seed ${seed}`);
      foot.append(download);
      if (state.model.edits) {
        const edit = element('button', { type: 'button', title: 'Edit' }, icon('edit'));
        edit.setAttribute('aria-label', `Edit ${name}, seed ${seed}`);
        edit.addEventListener('click', () => editing.open(card.blob, card.entry));
        foot.append(edit);
      }
    },
    fail(reason) {
      if (card.isDone) return;
      item.classList.add('failed');
      text.textContent = reason;
      text.hidden = !image.hidden;
      show.setAttribute('aria-label', `${name}, seed ${seed}: ${reason}`);
    },
    forget() { if (card.url) URL.revokeObjectURL(card.url); },
  };
  return card;
}

$('clear').addEventListener('click', () => {
  state.job?.abort();
  for (const batch of batches.splice(0)) batch.forget();
  $('empty').hidden = false;
  $('history-bar').hidden = true;
  $('class').focus();
  say('All pictures are cleared');
});

// ---- One picture, large

function view(card) {
  state.viewed = card;
  $('viewer-title').textContent = className(card.entry);
  $('viewer-image').src = card.url;
  $('viewer-image').alt = `${className(card.entry)}, seed ${card.seed}`;
  const facts = [
    ['Class', card.entry.class], ['Seed', card.seed], ['Guidance', card.body.guidance],
    ['Top-k', card.body.top_k || 'all'], ['Top-p', card.body.top_p], ['Size', card.size.replace('x', ' × ')],
    ['Model', state.model.id],
  ];
  $('viewer-facts').replaceChildren(...facts.flatMap(([name, value]) => [
    element('dt', { textContent: name }), element('dd', { textContent: value })]));
  $('viewer-download').href = card.url;
  $('viewer-download').download = card.file;
  $('viewer-edit').hidden = !state.model.edits;
  $('viewer').showModal();
}

$('viewer-close').addEventListener('click', () => $('viewer').close());
$('viewer').addEventListener('click', (event) => { if (event.target === $('viewer')) $('viewer').close(); });
$('viewer-edit').addEventListener('click', () => {
  $('viewer').close();
  editing.open(state.viewed.blob, state.viewed.entry);
});
$('viewer-reuse').addEventListener('click', () => {
  const { body, entry, seed } = state.viewed;
  choose(entry);
  setRange('guidance', body.guidance);
  setRange('top-k', body.top_k);
  setRange('top-p', body.top_p);
  $('seed').value = seed;
  lockSeed(true);
  $('viewer').close();
  $('generate').focus();
  say('The settings are taken over');
});

// ---- Editing

const editing = {
  picture: null,
  strokes: [],
  undone: [],
  cursor: null,
  erases: false,

  async open(blob, entry) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(blob);
    } catch {
      return complain('This file is not a picture that can be opened here; choose a PNG, JPEG or WebP.');
    }
    setMode('edit');
    // A picture from a camera has far more pixels than a model can use.
    const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
    for (const canvas of [$('base'), $('paint')]) [canvas.width, canvas.height] = [width, height];
    $('base').getContext('2d').drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    this.picture = { width, height };
    this.strokes = [];
    this.cursor = { x: width / 2, y: height / 2 };
    if (entry) choose(entry);
    $('drop').hidden = true;
    $('painting').hidden = false;
    $('brush-size').max = Math.round(Math.max(width, height) / 2);
    setRange('brush-size', Math.round(Math.max(width, height) / 6));
    this.render();
    $('paint').focus();
    complain(null);
    say('Paint over what is to be drawn anew');
  },

  /** All strokes, white where the picture is drawn anew. */
  mask() {
    const canvas = element('canvas', this.picture);
    const pen = canvas.getContext('2d');
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.lineCap = pen.lineJoin = 'round';
    for (const stroke of this.strokes) {
      pen.strokeStyle = pen.fillStyle = stroke.erases ? '#000' : '#fff';
      if (stroke.everything) {
        pen.fillRect(0, 0, canvas.width, canvas.height);
        continue;
      }
      pen.lineWidth = stroke.size;
      pen.beginPath();
      const [first, ...rest] = stroke.points;
      pen.moveTo(first.x, first.y);
      // A line of no length is a dot.
      pen.lineTo(first.x + 0.01, first.y);
      for (const point of rest) pen.lineTo(point.x, point.y);
      pen.stroke();
    }
    return canvas;
  },

  render() {
    const canvas = $('paint');
    const pen = canvas.getContext('2d');
    const { width, height } = canvas;
    const shade = pen.createImageData(width, height);
    const mask = this.mask().getContext('2d').getImageData(0, 0, width, height).data;
    for (let i = 0; i < mask.length; i += 4) {
      shade.data.set([124, 92, 255, mask[i] * 0.6], i);
    }
    pen.putImageData(shade, 0, 0);
    if (document.activeElement === canvas && this.cursor) {
      const unit = width / (canvas.clientWidth || width);
      const radius = Number($('brush-size').value) / 2;
      for (const [style, line] of [['#000', 3], ['#fff', 1.5]]) {
        pen.strokeStyle = style;
        pen.lineWidth = line * unit;
        pen.beginPath();
        pen.arc(this.cursor.x, this.cursor.y, radius, 0, 7);
        pen.stroke();
      }
    }
    $('mask-undo').disabled = !this.strokes.length;
  },

  begin(point) {
    complain(null);
    this.strokes.push({ erases: this.erases, size: Number($('brush-size').value), points: [point] });
  },

  async parameters() {
    if (!this.picture) throw new RequestError(0, 'Choose a picture to edit first.');
    const mask = this.mask();
    const pixels = mask.getContext('2d').getImageData(0, 0, mask.width, mask.height).data;
    if (!pixels.some((value, i) => i % 4 === 0 && value > 127)) {
      $('paint').focus();
      throw new RequestError(0, 'Paint over what is to be drawn anew first.');
    }
    return {
      image: $('base').toDataURL('image/png'), mask: mask.toDataURL('image/png'),
      aspect: undefined,
    };
  },
};

function pointOf(event) {
  const box = $('paint').getBoundingClientRect();
  return {
    x: (event.clientX - box.left) / box.width * $('paint').width,
    y: (event.clientY - box.top) / box.height * $('paint').height,
  };
}

$('paint').addEventListener('pointerdown', (event) => {
  if (event.button !== 0) return;
  $('paint').setPointerCapture(event.pointerId);
  editing.cursor = pointOf(event);
  editing.begin(editing.cursor);
  editing.isPainting = true;
  editing.render();
});
$('paint').addEventListener('pointermove', (event) => {
  editing.cursor = pointOf(event);
  if (editing.isPainting) editing.strokes.at(-1).points.push(editing.cursor);
  if (!editing.frame) {
    editing.frame = requestAnimationFrame(() => {
      editing.frame = null;
      editing.render();
    });
  }
});
for (const end of ['pointerup', 'pointercancel']) {
  $('paint').addEventListener(end, () => { editing.isPainting = false; });
}
for (const change of ['focus', 'blur']) $('paint').addEventListener(change, () => editing.picture && editing.render());
$('paint').addEventListener('keydown', (event) => {
  const step = (event.shiftKey ? 4 : 1) * Math.max(2, Number($('brush-size').value) / 4);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const move = moves[event.key];
  if (move) {
    const { x, y } = editing.cursor;
    editing.cursor = {
      x: Math.min(Math.max(x + move[0], 0), editing.picture.width),
      y: Math.min(Math.max(y + move[1], 0), editing.picture.height),
    };
  } else if (event.key === ' ' || event.key === 'Enter') {
    if (event.ctrlKey || event.metaKey) return;
    editing.begin(editing.cursor);
  } else if (event.key === '+' || event.key === '-') {
    setRange('brush-size', Number($('brush-size').value) + (event.key === '+' ? 4 : -4));
  } else if (event.key === 'z' && (event.ctrlKey || event.metaKey)) {
    editing.strokes.pop();
  } else {
    return;
  }
  event.preventDefault();
  editing.render();
});

function setTool(erases) {
  editing.erases = erases;
  $('tool-brush').setAttribute('aria-pressed', !erases);
  $('tool-erase').setAttribute('aria-pressed', erases);
}
$('tool-brush').addEventListener('click', () => setTool(false));
$('tool-erase').addEventListener('click', () => setTool(true));
$('mask-undo').addEventListener('click', () => { editing.strokes.pop(); editing.render(); });
$('mask-clear').addEventListener('click', () => { editing.strokes = []; editing.render(); });
$('mask-all').addEventListener('click', () => { editing.strokes.push({ everything: true }); editing.render(); });
$('brush-size').addEventListener('input', () => editing.picture && editing.render());

for (const id of ['pick', 'replace']) $(id).addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  const [file] = $('file').files;
  if (file) editing.open(file);
  $('file').value = '';
});
for (const target of [$('drop'), document.querySelector('.canvas-frame')]) {
  target.addEventListener('dragover', (event) => { event.preventDefault(); target.classList.add('over'); });
  target.addEventListener('dragleave', () => target.classList.remove('over'));
  target.addEventListener('drop', (event) => {
    event.preventDefault();
    target.classList.remove('over');
    const [file] = event.dataTransfer.files;
    if (file) editing.open(file);
  });
}
document.addEventListener('paste', (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith('image/'));
  if (file && state.model?.edits) editing.open(file);
});

function setMode(mode) {
  state.mode = mode;
  $('editor').hidden = mode !== 'edit';
  $('mode-create').setAttribute('aria-pressed', mode === 'create');
  $('mode-edit').setAttribute('aria-pressed', mode === 'edit');
  setBusy(state.job !== null);
}
$('mode-create').addEventListener('click', () => setMode('create'));
$('mode-edit').addEventListener('click', () => setMode('edit'));

// ---- The beginning

async function begin() {
  // A link may carry the token after its #, which is never sent to a server.
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    state.token = given;
    try { sessionStorage.setItem('mvar-token', given); } catch { /* It is asked for again then. */ }
    history.replaceState(null, '', location.pathname);
  }
  $('generate').disabled = true;
  try {
    const [models, classes] = [
      await (await request('v1/models')).json(), await (await request('v1/classes')).json(),
    ];
    state.model = models.data[0];
    const [width, height] = state.model.size.split('x').map(Number);
    state.model.aspect = width / height;
    state.classes = classes.data.map((entry) => ({ ...entry, folded: entry.names.map(fold) }));
  } catch (error) {
    return complain(`${error.message} Reload the page to try again.`);
  }
  $('model').textContent = `${state.model.id} · ${state.model.size.replace('x', ' × ')} · ${state.model.device}`;
  $('model').hidden = false;
  $('modes').hidden = !state.model.edits;
  if (!state.model.named_classes) combo.input.placeholder = `A number, 0 to ${state.model.classes - 1}`;
  buildCounts(state.model.max_count);
  resetSettings();
  newSeed();
  lockSeed(false);
  setBusy(false);
}

begin();
