// The objects that stand on the picture, and the bar that changes them. `live.js` draws their picture.
const { places, colours, shapes, size: [width, height], radius } = props.start;
const find = name => element.querySelector('.' + name);
const picture = find('picture');
const LEAST_DRAG = 4;  // pixels of the screen
const kinds = shapes.flatMap(shape => colours.map(colour => ({ colour, shape })));
const nameOf = ({ colour, shape }) => [colour, shape].filter(Boolean).join(' ');
const objects = [];
let next = { ...kinds[0] }, selected = null, dragged = null;

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
  if (dragged === object) dragged = null;
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
