// A loop that asks the server for the picture of the objects: one request at a time, so that no request waits in a queue
// and no answer is older than the one before it. When the picture is drawn, those of other seeds follow.
const seeds = find('seeds'), says = find('says');
const SLOW = 600;  // milliseconds; a request that takes longer can be stopped
let settings = asSettings(props.start.settings);
const answers = new Map();  // by seed, for the places and the sampling in `asked`
let asked = '', request = null, isWanted = false, isDrawing = false, isAtSeeds = false;

function asSettings([number, scheduler, steps, guidance_scale, seed]) {
  return { number, scheduler, steps, guidance_scale, seed: seed ?? 0 };
}

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
  const slow = setTimeout(() => find('page').classList.add('slow'), SLOW);
  try {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(wanted), signal: request.signal };
    const answer = await fetch(props.start.url, options).catch(error => {
      throw error.name === 'AbortError' ? error : new Error('The playground does not answer. Is it still running?');
    });
    const content = await answer.json().catch(() => ({ error: 'The playground failed. Its terminal says why.' }));
    if (content.error) throw new Error(content.error);
    return content;
  } finally {
    clearTimeout(slow);
    find('page').classList.remove('slow');
  }
}

async function draw() {
  isWanted = true;
  picture.setAttribute('aria-busy', true);
  seeds.classList.add('old');
  if (isAtSeeds) request.abort();
  if (isDrawing) return;
  isDrawing = true;
  while (isWanted) {
    isWanted = false;
    try {
      await drawPicture();
      picture.setAttribute('aria-busy', isWanted);
      isAtSeeds = true;
      if (!isWanted && !dragged) await drawSeeds();
    } catch (error) {
      if (error.name !== 'AbortError') say(error.message, true);
    } finally {
      isAtSeeds = false;
    }
  }
  isDrawing = false;
  picture.setAttribute('aria-busy', false);
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
    if (isWanted) return;
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
      showSeed();
      draw();
    });
    return button;
  }));
  showSeed();
}

function showSeed() {
  for (const button of seeds.children) button.setAttribute('aria-pressed', Number(button.dataset.seed) === settings.seed);
}

document.addEventListener('settings', event => {
  const changed = asSettings(event.detail);
  if (JSON.stringify(changed) === JSON.stringify(settings)) return;
  settings = changed;
  fillSeeds();
  request?.abort();
  draw();
});

find('stop').addEventListener('click', () => {
  isWanted = false;
  request.abort();
});

fill('colours', 'colour', colours.length > 1 ? colours : []);
fill('shapes', 'shape', shapes);
for (const { label, x, y } of places) put(kinds.find(kind => nameOf(kind) === label), { x, y });
fillSeeds();
show();
draw();
