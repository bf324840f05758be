// Dragging moves the disc under the pointer; its last position is written to `props.value`.
let dragged = null;

function position(event) {
  const box = element.querySelector('svg').getBoundingClientRect();
  const scale = props.image_width / box.width;
  const within = (value, length) => Math.min(Math.max(value, 0), length - 1);
  const round = value => Math.round(value * 10) / 10;
  return {
    x: round(within((event.clientX - box.left) * scale, props.image_width)),
    y: round(within((event.clientY - box.top) * scale, props.image_height)),
  };
}

element.addEventListener('pointerdown', event => {
  const place = event.target.closest('.place');
  if (place) {
    dragged = place;
    event.preventDefault();
  }
});

element.addEventListener('pointermove', event => {
  if (dragged) {
    const { x, y } = position(event);
    dragged.setAttribute('transform', `translate(${x} ${y})`);
  }
});

window.addEventListener('pointerup', event => {
  if (dragged) {
    const { x, y } = position(event);
    const label = dragged.dataset.label;
    dragged = null;
    props.value = props.value.map(place => place.label === label ? { label, x, y } : place);
  }
});
