// The objects that stand on the picture, and a loop that asks the server for the picture of them: one request at a time,
// so that an answer is never older than the one before it, and no request waits in a queue.
const { places, colours, shapes, size: [width, height], radius, url } = props.start;
const find = name => element.querySelector('.' + name);
const picture = find('picture'), seeds = find('seeds'), says = find('says');
const [LEAST_DRAG, SLOW] = [4, 600];  // pixels of the screen; milliseconds
const kinds = shapes.flatMap(shape => colours.map(colour => ({ colour, shape })));
const nameOf = ({ colour, shape }) => [colour, shape].filter(Boolean).join(' ');
const objects = [];
let settings = asSettings(props.start.settings);
let next = { ...kinds[0] }, selected = null, dragged = null;

function asSettings([number, scheduler, steps, guidance_scale, seed]) {
  return { number, scheduler, steps, guidance_scale, seed: seed ?? 0 };
}

// --- drawing ---

const answers = new Map();  // by seed, for the places and the sampling in `asked`
let asked = '', request = null, isWanted = false, isDrawing = false, isAtSeeds = false;

async function ask(seed) {
  const { scheduler, steps, guidance_scale } = settings;
  const wanted = { places: objects.map(object => ({ label: nameOf(object), x: object.x, y: object.y })), scheduler, steps, guidance_scale };
  if (JSON.stringify(wanted) !== asked) {
    answers.clear();
    asked = JSON.stringify(wanted);
  }
  if (!answers.has(seed)) {
    answers.set(seed, await post({ ...wanted, seed }));
  }
  return answers.get(seed);
}

async function post(wanted) {
  request = new AbortController();
  const slow = setTimeout(() => say('Drawing … '), SLOW);
  try {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(wanted), signal: request.signal };
    const answer = await fetch(url, options).catch(error => {
      throw error.name === 'AbortError' ? error : new Error('The playground does not answer. Is it still running?');
    });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  } finally {
    clearTimeout(slow);
  }
}

async function draw() {
  isWanted = true;
  seeds.classList.add('old');
  if (isAtSeeds) request.abort();
  if (isDrawing) return;
  isDrawing = true;
  while (isWanted) {
    isWanted = false;
    try {
      await drawPicture();
      isAtSeeds = true;
      if (!isWanted && !dragged) await drawSeeds();
    } catch (error) {
      if (error.name !== 'AbortError') say(error.message, true);
    } finally {
      isAtSeeds = false;
    }
  }
  isDrawing = false;
}

async function drawPicture() {
  if (!objects.length) {
    find('drawn').removeAttribute('src');
    throw new Error('Put an object down.');
  }
  const { image, caption, code } = await ask(settings.seed);
  find('drawn').src = image;
  say(caption);
  if (!dragged) {
    props.value = { seed: settings.seed, code };
    trigger('input');
  }
}

async function drawSeeds() {
  for (const button of seeds.children) {
    const { image, caption } = await ask(Number(button.dataset.seed));
    button.firstChild.src = image;
    button.title = caption;
    button.lastChild.textContent = `${button.dataset.seed} ${caption && (caption.includes('✗') ? '✗' : '✓')}`;
  }
  seeds.classList.remove('old');
}

function say(text, isWrong = false) {
  says.textContent = text;
  says.classList.toggle('wrong', isWrong);
  picture.classList.toggle('wrong', isWrong);
}

// --- objects ---

function put(kind, { x, y }) {
  const object = { ...kind, x, y, handle: document.createElement('button') };
  object.handle.type = 'button';
  object.handle.className = 'handle';
  object.handle.style.width = `${200 * radius / width}%`;
  listen(object);
  objects.push(object);
  picture.append(object.handle);
  return object;
}

function remove(object) {
  objects.splice(objects.indexOf(object), 1);
  object.handle.remove();
  select(null);
  draw();
}

function move(object, { x, y }) {
  const within = (value, length) => Math.round(10 * Math.min(Math.max(value, 0), length - 1)) / 10;
  Object.assign(object, { x: within(x, width), y: within(y, height) });
  show();
  draw();
}

function select(object) {
  selected = object;
  show();
}

function positionOf(event) {
  const box = picture.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * width, y: (event.clientY - box.top) / box.height * height };
}

function listen(object) {
  const { handle } = object;
  let grip = null, isOver = false;
  handle.addEventListener('mousedown', event => event.preventDefault());  // dragging does not select
  handle.addEventListener('pointerdown', event => {
    if (event.button) return;
    const { x, y } = positionOf(event);
    grip = { x: object.x - x, y: object.y - y, from: event };
    isOver = false;
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener('pointermove', event => {
    if (!grip) return;
    if (!dragged && Math.hypot(event.clientX - grip.from.clientX, event.clientY - grip.from.clientY) < LEAST_DRAG) return;
    dragged = object;
    const { x, y } = positionOf(event);
    move(object, { x: x + grip.x, y: y + grip.y });
  });
  handle.addEventListener('lostpointercapture', () => {
    isOver = dragged === object;
    grip = dragged = null;
    if (isOver) draw();
  });
  handle.addEventListener('click', () => {
    if (!isOver) handle.focus();
    isOver = false;
  });
  handle.addEventListener('focus', () => select(object));
  handle.addEventListener('keydown', event => {
    const far = event.shiftKey ? 4 : 1;
    const [x, y] = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key] ?? [0, 0];
    if (x || y) {
      event.preventDefault();
      move(object, { x: object.x + x, y: object.y + y });
    } else if (event.key === 'Delete' || event.key === 'Backspace') {
      remove(object);
      (objects.at(-1)?.handle ?? find('act')).focus();
    } else if (event.key === 'Escape') {
      handle.blur();
      select(null);
    }
  });
}

picture.addEventListener('click', event => {
  if (event.target.closest('.handle')) return;
  if (selected) {
    document.activeElement.blur();
    select(null);
  } else if (!stands(next)) {
    move(put(next, positionOf(event)), positionOf(event));
  }
});

// --- the bar: what is put down next, or what is selected ---

const PAINTS = { gray: '#575757', red: '#ad2323', blue: '#2a4bd7', green: '#1d6914', brown: '#814a19', purple: '#8126c0', cyan: '#29d0d0', yellow: '#ffee33' };
const ICONS = {
  cube: '<path d="M12 2 21 7v10l-9 5-9-5V7z"/><path d="M12 12v10l9-5V7z" fill="#0004"/><path d="m12 12 9-5-9-5-9 5z" fill="#fff4"/>',
  sphere: '<circle cx="12" cy="12" r="10"/><circle cx="9" cy="8" r="4" fill="#fff4"/>',
  cylinder: '<path d="M4 6v12c0 5 16 5 16 0V6z"/><ellipse cx="12" cy="6" rx="8" ry="3.5" fill="#fff4"/>',
};
const stands = kind => objects.some(object => nameOf(object) === nameOf(kind));

function fill(group, field, choices) {
  for (const choice of choices) {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', title: choice, textContent: ICONS[choice] || field === 'colour' ? '' : choice });
    if (ICONS[choice]) button.innerHTML = `<svg viewBox="0 0 24 24" fill="currentColor">${ICONS[choice]}</svg>`;
    if (field === 'colour') button.style.background = PAINTS[choice];
    button.addEventListener('click', () => {
      (selected ?? next)[field] = choice;
      show();
      if (selected) draw();
    });
    button.update = kind => {
      button.setAttribute('aria-pressed', kind[field] === choice);
      button.disabled = kind[field] !== choice && stands({ ...kind, [field]: choice });
    };
    find(group).append(button);
  }
}

function show() {
  for (const object of objects) {
    const { handle, x, y } = object;
    Object.assign(handle.style, { left: `${100 * x / width}%`, top: `${100 * y / height}%` });
    handle.setAttribute('aria-label', `${nameOf(object)} at ${x}, ${y}`);
    handle.setAttribute('aria-pressed', object === selected);
  }
  if (stands(next)) {  // a kind stands only once: offer the one after it
    const place = kinds.findIndex(kind => nameOf(kind) === nameOf(next));
    next = { ...([...kinds.slice(place), ...kinds.slice(0, place)].find(kind => !stands(kind)) ?? next) };
  }
  const kind = selected ?? next;
  find('kind').textContent = selected ? `Selected: ${nameOf(kind)}` : `Put down: ${nameOf(kind)}`;
  find('act').textContent = selected ? 'Remove' : 'Add';
  find('act').disabled = !selected && stands(next);
  find('shapes').style.color = PAINTS[kind.colour] ?? 'inherit';
  for (const button of element.querySelectorAll('.colours button, .shapes button')) button.update(kind);
  for (const button of seeds.children) button.setAttribute('aria-pressed', Number(button.dataset.seed) === settings.seed);
}

function freePlace() {
  const room = ({ x, y }) => Math.min(...objects.map(object => Math.hypot(object.x - x, object.y - y)));
  const tried = [0.5, 0.35, 0.65, 0.2, 0.8].flatMap(x => [0.45, 0.6, 0.75].map(y => ({ x: x * width, y: y * height })));
  return tried.reduce((best, place) => room(place) > room(best) ? place : best);
}

find('act').addEventListener('click', () => {
  if (selected) return remove(selected);
  put(next, freePlace()).handle.focus();
  draw();
});

// --- seeds and settings ---

function fillSeeds() {
  const first = Math.floor(settings.seed / settings.number) * settings.number;
  seeds.replaceChildren(...Array.from({ length: settings.number }, (_, index) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.seed = first + index;
    button.innerHTML = '<img alt=""><span></span>';
    button.lastChild.textContent = first + index;
    button.addEventListener('click', () => {
      settings.seed = first + index;
      show();
      draw();
    });
    return button;
  }));
}

document.addEventListener('settings', event => {
  const changed = asSettings(event.detail);
  if (JSON.stringify(changed) === JSON.stringify(settings)) return;
  settings = changed;
  fillSeeds();
  show();
  request?.abort();
  draw();
});

document.addEventListener('stop', () => {
  isWanted = false;
  request?.abort();
  if (isDrawing) say('Stopped.');
});

fill('colours', 'colour', colours.length > 1 ? colours : []);
fill('shapes', 'shape', shapes);
for (const { label, x, y } of places) put(kinds.find(kind => nameOf(kind) === label), { x, y });
fillSeeds();
show();
draw();
