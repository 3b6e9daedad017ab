// The gallery: boxes over the test images, by score, class, arm and kind. Names and ids are others'
// text: they are set as text, never as HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const GAP_PX = 1;

// Where a tag stands at its box, so that those of one finding keep apart.
const PLACES = {
  consensus: (box, tag) => [box.x0, box.y0 - tag.height],
  reader: (box, tag) => [box.x1 - tag.width, box.y0],
  prediction: (box, tag) => [box.x0, box.y1],
};

function startGallery(data) {
  const controls = {
    form: document.getElementById("controls"),
    score: document.getElementById("score"),
    label: document.getElementById("class"),
    arm: document.getElementById("arm"),
    layers: [...document.querySelectorAll("#controls input[name=layer]")],
  };
  const films = [...document.querySelectorAll(".film")].map((element) =>
    filmOf(element, data.images[Number(element.dataset.place)]),
  );
  const show = () => showBoxes(films, data.classes, chosenIn(controls));
  controls.form.addEventListener("input", show);
  controls.form.addEventListener("submit", (event) => event.preventDefault());
  controls.form.hidden = false;
  const sizes = new ResizeObserver((entries) => {
    const resized = new Set(entries.map((entry) => entry.target));
    placeTags(films.filter((film) => resized.has(film.picture)));
  });
  films.forEach((film) => sizes.observe(film.picture));
  show();
}

function filmOf(element, image) {
  const picture = element.querySelector(".picture");
  const overlay = document.createElementNS(SVG, "svg");
  overlay.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
  overlay.setAttribute("preserveAspectRatio", "none");
  overlay.setAttribute("aria-hidden", "true");
  const tags = document.createElement("div");
  tags.setAttribute("aria-hidden", "true");
  picture.append(overlay, tags);
  return { element, image, picture, overlay, tags, count: element.querySelector(".count"), tagged: [] };
}

function chosenIn(controls) {
  const score = Number(controls.score.value);
  document.getElementById("least-score").textContent = score.toFixed(2);
  return {
    score,
    label: controls.label.value === "" ? null : Number(controls.label.value),
    arm: controls.arm.value,
    kinds: controls.layers.filter((layer) => layer.checked).map((layer) => layer.value),
  };
}

function showBoxes(films, classes, chosen) {
  let held = 0;
  for (const film of films) {
    const isHeld = chosen.label === null || holds(film.image, chosen);
    film.element.hidden = !isHeld;
    held += isHeld ? 1 : 0;
    drawFilm(film, classes, chosen);
  }
  placeTags(films);
  const all = chosen.label === null;
  document.getElementById("gallery-count").textContent = all
    ? `${films.length} ${films.length === 1 ? "image" : "images"}`
    : `${held} of ${films.length} images have a box of this class, drawn or predicted`;
}

function holds(image, { label, arm }) {
  return (
    image.truth.some((one) => one.label === label) ||
    image.readers.some((reader) => reader.boxes.some((one) => one.label === label)) ||
    (image.found[arm] ?? []).some((row) => row[4] === label)
  );
}

function drawFilm(film, classes, chosen) {
  const isWanted = (label) => chosen.label === null || label === chosen.label;
  const found = (film.image.found[chosen.arm] ?? []).filter((row) => isWanted(row[4]));
  const boxes = [
    ...readerBoxes(film.image, classes),
    ...found.filter((row) => row[5] >= chosen.score).map((row) => predictionBox(row, classes)),
    ...film.image.truth.map((one) => consensusBox(one, classes)),
  ].filter((box) => chosen.kinds.includes(box.kind) && isWanted(box.label));
  film.overlay.replaceChildren(...boxes.map(groupOf));
  // What is drawn last lies on top, and its tag has the first choice of place.
  film.tagged = boxes.map((box) => ({ box, tag: tagOf(box) })).reverse();
  film.tags.replaceChildren(...film.tagged.map((one) => one.tag));
  film.count.textContent = countText(boxes, found.length, chosen.kinds);
}

function consensusBox(one, classes) {
  const readers = one.support === 1 ? "1 reader" : `${one.support} readers`;
  return {
    kind: "consensus",
    corners: one.box,
    label: one.label,
    text: `${classes[one.label]} · ${one.support}`,
    title: `consensus: ${classes[one.label]}, ${readers}`,
  };
}

function readerBoxes(image, classes) {
  return image.readers.flatMap((reader) =>
    reader.boxes.map((one) => ({
      kind: "reader",
      corners: one.box,
      label: one.label,
      text: `${reader.name}: ${classes[one.label]}`,
      title: `reader ${reader.name}: ${classes[one.label]}`,
    })),
  );
}

function predictionBox(row, classes) {
  return {
    kind: "prediction",
    corners: row.slice(0, 4),
    label: row[4],
    text: `${classes[row[4]]} ${row[5].toFixed(2)}`,
    title: `prediction: ${classes[row[4]]}, score ${row[5].toFixed(3)}`,
  };
}

function groupOf(box) {
  const group = document.createElementNS(SVG, "g");
  group.setAttribute("class", box.kind);
  group.dataset.label = box.label;
  const title = document.createElementNS(SVG, "title");
  title.textContent = box.title;
  // Twice: a dark line below the bright one, to be seen on bright bone as well.
  group.append(title, rectOf(box.corners, "ground"), rectOf(box.corners, "line"));
  return group;
}

function rectOf([x0, y0, x1, y1], name) {
  const rect = document.createElementNS(SVG, "rect");
  const places = { class: name, x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  for (const [key, value] of Object.entries(places)) rect.setAttribute(key, value);
  return rect;
}

function tagOf(box) {
  const tag = document.createElement("span");
  tag.className = `tag ${box.kind}`;
  tag.textContent = box.text;
  return tag;
}

function countText(boxes, numFound, kinds) {
  const count = (kind) => boxes.filter((box) => box.kind === kind).length;
  const named = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  const parts = {
    prediction: `${count("prediction")} of ${named(numFound, "prediction", "predictions")}`,
    consensus: named(count("consensus"), "consensus box", "consensus boxes"),
    reader: named(count("reader"), "reader's box", "readers' boxes"),
  };
  const shown = Object.keys(parts).filter((kind) => kinds.includes(kind));
  return shown.map((kind) => parts[kind]).join(", ") || "no boxes";
}

// All sizes are read before any place is written: a browser then lays the page out once.
function placeTags(films) {
  const measured = films
    .filter((film) => film.picture.clientWidth > 0)
    .map((film) => ({
      film,
      width: film.picture.clientWidth,
      height: film.picture.clientHeight,
      sizes: film.tagged.map(({ tag }) => ({ width: tag.offsetWidth, height: tag.offsetHeight })),
    }));
  for (const { film, width, height, sizes } of measured) {
    const taken = [];
    film.tagged.forEach(({ box, tag }, index) => {
      const wanted = wantedPlace(box, sizes[index], width / film.image.width, height / film.image.height);
      const place = freePlace(wanted, sizes[index], { width, height }, taken);
      taken.push(place);
      tag.style.left = `${(100 * place.x) / width}%`;
      tag.style.top = `${(100 * place.y) / height}%`;
    });
  }
}

function wantedPlace(box, size, scaleX, scaleY) {
  const [x0, y0, x1, y1] = box.corners;
  const pixels = { x0: x0 * scaleX, y0: y0 * scaleY, x1: x1 * scaleX, y1: y1 * scaleY };
  return PLACES[box.kind](pixels, size);
}

// The nearest place up or down where no other tag is; where all is full, the wanted one.
function freePlace([x, y], size, film, taken) {
  const within = (value, most) => Math.min(Math.max(0, value), Math.max(0, most));
  const at = (shift) => ({
    x: within(x, film.width - size.width),
    y: within(y + shift, film.height - size.height),
    ...size,
  });
  const steps = Math.ceil(film.height / (size.height + GAP_PX));
  for (let step = 0; step <= steps; step += 1) {
    for (const shift of [step, -step]) {
      const place = at(shift * (size.height + GAP_PX));
      if (!taken.some((other) => overlaps(place, other))) return place;
    }
  }
  return at(0);
}

function overlaps(one, other) {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}

const galleryData = document.getElementById("gallery-data");
if (galleryData) startGallery(JSON.parse(galleryData.textContent));
