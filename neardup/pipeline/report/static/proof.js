// A proof to look at: the query laid over the reference, which blocks of them agree, and what that says in words.
// The report carries this module in its page, and the API serves it. It imports nothing.

const GROUNDS = {
  "agrees": "Laid over each other, they show the same.",
  "other-writing": "Writing stands in the place of other writing.",
  "motion": "It is the same scene, and something in it moved, or the camera did.",
  "changed-scene": "It is the same scene, and a part of it or its colours are different.",
  "template": "They agree in one part only, which is at the same place in both, as in a template.",
  "no-transform": "The two could not be laid over each other.",
  "few-points": "Too few key points support laying one over the other.",
  "little-agrees": "Laid over each other, too little of them agrees.",
  "repetitive": "What agrees is a regular pattern, which would agree with many others.",
  "illegible": "Its writing is too small to distinguish it from another document of its layout, or another caption.",
  "written-in": "It is a document with writing or lines that the other lacks.",
};
// The same as a phrase, for a line beside other facts.
const BRIEFLY = {
  "agrees": "both show the same",
  "other-writing": "other writing in the same place",
  "motion": "something or the camera moved",
  "changed-scene": "a part or the colours differ",
  "template": "only one part agrees, as in a template",
  "no-transform": "could not be laid over each other",
  "few-points": "too few matching key points",
  "little-agrees": "too little agrees",
  "repetitive": "only a regular pattern agrees",
  "illegible": "the writing is too small to compare",
  "written-in": "one has writing that the other lacks",
};
const FINDINGS = { copy: "Proved", variant: "A variant", unproved: "Not proved" };
const BLOCKS = [["", ""], ["block agrees", "blocks agree"], ["block differs", "blocks differ"], ["block only in", "blocks only in"], ["block only in", "blocks only in"]];
const CROSS = [[-1, 0, 1, 0], [0, -1, 0, 1]];
const MARKS = [[], [], [[-1, -1, 1, 1], [1, -1, -1, 1]], CROSS, CROSS.slice(0, 1)]; // ×, +, −: colour alone says nothing
const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];
const BLINK_MS = 700;
const MOST_AROUND = 2; // pictures around the reference that are shown of a query which is larger
const SLACK = 0.01;
const EDGE = 0.03; // of a side: what a match may leave out and still be the whole picture
const INSET = 0.012;
const NEARLY = 0.94; // of the area: a frame around so much shows nothing
const LEAST_BESIDE = 0.06; // of the view: a narrower strip has no caption
const FINE = 16; // columns of blocks, above which marks are thin
let views = 0;

const share = (part) => (part > 0 && part < 0.005 ? "under 1 %" : part > 0.995 && part < 1 ? "over 99 %" : `${Math.round(100 * part)} %`);
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const whole = (transform) => (transform.length === 6 ? [...transform, 0, 0, 1] : transform);

function node(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}
function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// --- Transforms: nine numbers, rows of a homography, from shares of the query to shares of the reference
function moved(transform, [x, y]) {
  const [a, b, c, d, e, f, g, h, i] = transform;
  const depth = g * x + h * y + i;
  return [(a * x + b * y + c) / depth, (d * x + e * y + f) / depth];
}
function inverse([a, b, c, d, e, f, g, h, i]) {
  return [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, a * e - b * d];
}
function isMirrored(transform) {
  const [o, right, , down] = CORNERS.map((corner) => moved(transform, corner));
  return (right[0] - o[0]) * (down[1] - o[1]) < (right[1] - o[1]) * (down[0] - o[0]);
}
// How far the query was turned to the right, after it was mirrored if so; `ratio` is the reference's width over its height.
function degrees(transform, ratio) {
  const [top, bottom] = [[0.5, 0], [0.5, 1]].map((point) => moved(transform, point));
  const back = (Math.atan2((bottom[0] - top[0]) * ratio, bottom[1] - top[1]) * 180) / Math.PI;
  return Math.round(isMirrored(transform) ? -back : back);
}

// Where each picture lies in the other, as four corners in shares; null where that is all of it, or not proved.
export function outlines({ proof, where: { transform } }) {
  if (!transform || proof?.finding === "unproved") return { query: null, reference: null };
  const places = { reference: whole(transform), query: inverse(whole(transform)) };
  for (const [side, matrix] of Object.entries(places)) {
    const points = CORNERS.map((corner) => moved(matrix, corner));
    const around = points.every(([x, y]) => Math.min(Math.abs(x), Math.abs(1 - x)) < SLACK && Math.min(Math.abs(y), Math.abs(1 - y)) < SLACK);
    places[side] = around || points.flat().some((value) => !Number.isFinite(value)) ? null : points;
  }
  return places;
}

// Whether only a part of each side matches: of a proof, where the other one does not lie in it as a whole.
export function isPart(match, side) {
  const box = match.where[`${side}_box`];
  if (!box) return false;
  const { transform } = match.where;
  if (transform && match.proof && match.proof.finding !== "unproved") {
    const matrix = side === "query" ? whole(transform) : inverse(whole(transform));
    if (CORNERS.every((corner) => moved(matrix, corner).every((value) => value > -EDGE && value < 1 + EDGE))) return false;
  }
  return box[0] > EDGE || box[1] > EDGE || box[2] < 1 - EDGE || box[3] < 1 - EDGE;
}

// The part of a polygon within the picture, a little off its edges so that a line along them is seen; null where that
// is nothing, or nearly the whole. Source: Sutherland and Hodgman 1974, doi:10.1145/360767.360802.
export function within(points) {
  let left = points;
  for (const axis of [0, 1]) {
    for (const [limit, sign] of [[INSET, 1], [1 - INSET, -1]]) {
      const depth = (point) => sign * (point[axis] - limit);
      left = left.flatMap((point, n) => {
        const before = left[(n + left.length - 1) % left.length];
        const [a, b] = [depth(before), depth(point)];
        const cut = before.map((value, i) => value + ((point[i] - value) * a) / (a - b));
        return [...(a < 0 !== b < 0 ? [cut] : []), ...(b >= 0 ? [point] : [])];
      });
    }
  }
  const area = Math.abs(left.reduce((sum, [x, y], n) => { const [u, v] = left[(n + 1) % left.length]; return sum + x * v - u * y; }, 0)) / 2;
  return area < 1e-6 || area > NEARLY * (1 - 2 * INSET) ** 2 ? null : left;
}

// What a proof found. Of two videos, frames that are variants of each other, as at other instants, say nothing.
const found = ({ proof, relation }) => (proof.finding === "variant" && relation !== "variant" ? "unproved" : proof.finding);

// Pictures without texture have blocks of which none shows anything: they are compared as they are.
const isPlain = ({ map }) => Boolean(map) && !/[1-4]/.test(map.blocks);

// Why a proof found what it found, as a phrase.
export const groundWords = ({ ground }) => BRIEFLY[ground] || ground;

// The same, for a line beside other facts; null without a proof.
export function proofWords(match) {
  if (!match.proof) return null;
  const { agreeing } = match.proof;
  return { copy: isPlain(match.proof) ? "proved: looks the same" : `proved: ${share(agreeing)} agrees`, variant: `variant: ${groundWords(match.proof)}`, unproved: `not proved: ${groundWords(match.proof)}` }[found(match)];
}

// What a proof says, as sentences. `names` are those of query and reference, such as "the copy"; see `degrees` for `ratio`.
export function proofSentences(match, names, ratio = 1) {
  const { proof, where } = match;
  const said = [`${FINDINGS[found(match)]}. ${GROUNDS[proof.ground] || ""}`];
  if (!proof.map) return said;
  if (isPlain(proof)) return [...said, "Neither has texture, by which blocks could be compared."];
  const lacks = [["query", "reference"], ["reference", "query"]]
    .filter(([one]) => proof[`${one}_extra`] > 0)
    .map(([one, other]) => `in ${share(proof[`${one}_extra`])} ${names[one]} has something that ${names[other]} lacks`);
  said.push(`${[`${share(proof.agreeing)} of the common area agrees`, lacks.join(", ")].filter(Boolean).join("; ")}.`);
  if (!where.transform) return said;
  const angle = degrees(whole(where.transform), ratio);
  const changed = [isMirrored(whole(where.transform)) ? "mirrored" : null, Math.abs(angle) > 1 ? `turned by ${Math.abs(angle)}°${Math.abs(angle) === 180 ? "" : angle < 0 ? " to the left" : " to the right"}` : null].filter(Boolean);
  if (changed.length) said.push(`${capital(names.query)} is ${changed.join(" and ")}.`);
  if (proof.stage) said.push(`${proof.inliers.toLocaleString("en")} matching key ${proof.inliers === 1 ? "point" : "points"}.`);
  return said;
}

// The query over the reference, by the match's transform. Sides have a `src`, an `alt` and, of a video, `at`: the moment
// in words. `names` as in `proofSentences`.
export class ProofView {
  constructor(match, sides, names) {
    this.match = match;
    this.names = names;
    this.timer = 0;
    this.number = views++;
    const transform = whole(match.where.transform);
    const outline = CORNERS.map((corner) => moved(transform, corner));
    const limit = (value) => Math.min(Math.max(value, -MOST_AROUND), 1 + MOST_AROUND);
    const [x, y] = [0, 1].map((axis) => outline.map((point) => limit(point[axis])));
    this.view = [Math.min(0, ...x), Math.min(0, ...y), Math.max(1, ...x), Math.max(1, ...y)];
    this.low = node("img", { src: sides.reference.src, alt: sides.reference.alt, decoding: "async", draggable: "false", onload: () => this.fit() });
    this.top = node("img", { class: "over", src: sides.query.src, alt: sides.query.alt, decoding: "async", draggable: "false" });
    const blocks = match.proof.map;
    this.lines = drawn("svg", { class: blocks?.columns > FINE ? "fine" : "", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      ...(blocks ? drawBlocks(blocks, transform) : []), ...framed(CORNERS, "rim"), ...framed(outline, "frame"));
    this.plane = node("div", { class: "plane" }, this.low, this.top, this.lines);
    this.beside = this.caption();
    this.stage = node("div", { class: "proof-stage" }, this.plane, this.beside);
    const at = ["query", "reference"].filter((side) => sides[side].at).map((side) => `${names[side]} at ${sides[side].at}`);
    this.node = node("div", { class: "proof" }, node("p", { class: "label" }, "Laid over each other"), this.stage, this.controls(),
      blocks ? legend(blocks, names) : null, at.length ? node("p", { class: "proof-note" }, `${capital(at.join(", "))}.`) : null);
    this.show(false);
    new ResizeObserver(() => this.lay()).observe(this.plane);
    this.fit();
  }

  // What is beside the reference is empty until the query lies there: the largest strip says so.
  caption() {
    const [left, top, right, bottom] = this.view;
    const [width, height] = [right - left, bottom - top];
    const strips = [
      { size: -left / width, left: 0, width: -left / width, top: 0, height: 1 },
      { size: (right - 1) / width, left: (1 - left) / width, width: (right - 1) / width, top: 0, height: 1 },
      { size: -top / height, left: 0, width: 1, top: 0, height: -top / height },
      { size: (bottom - 1) / height, left: 0, width: 1, top: (1 - top) / height, height: (bottom - 1) / height },
    ];
    const { size, ...place } = strips.reduce((most, strip) => (strip.size > most.size ? strip : most));
    if (size < LEAST_BESIDE) return null;
    const made = node("p", { class: place.width < 0.3 ? "beside upright" : "beside" }, node("span", {}, `not in ${this.names.reference}`));
    for (const [name, value] of Object.entries(place)) made.style[name] = `${100 * value}%`;
    return made;
  }

  controls() {
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    this.still = () => still.matches;
    this.choices = [false, true].map((over) =>
      node("input", { type: "radio", name: `proof-${this.number}`, onchange: () => { this.stop(); this.show(over); } }));
    const [low, top] = this.choices;
    this.button = node("button", { type: "button", "aria-pressed": "false", onclick: () => this.blink(), hidden: this.still() }, "Blink ", node("kbd", { "aria-hidden": "true" }, "b"));
    const blocks = node("input", { type: "checkbox", checked: true, onchange: () => this.node.classList.toggle("bare", !blocks.checked) });
    return node("div", { class: "proof-controls" },
      node("fieldset", { class: "segments" }, node("legend", { class: "hidden" }, "Shown"),
        node("label", {}, low, node("span", {}, capital(this.names.reference))), node("label", {}, top, node("span", {}, `${capital(this.names.query)} over it`))),
      this.button, this.match.proof.map ? node("label", { class: "proof-check" }, blocks, node("span", {}, "Blocks")) : null);
  }

  show(over) {
    this.over = over;
    this.top.classList.toggle("away", !over);
    this.beside?.classList.toggle("away", over);
    this.choices[Number(over)].checked = true;
  }

  // Without motion, where that is preferred: then each call shows the other picture.
  blink() {
    if (this.timer) { this.stop(); return; }
    this.show(!this.over);
    if (this.still()) return;
    this.timer = setInterval(() => (this.node.isConnected ? this.show(!this.over) : this.stop()), BLINK_MS);
    this.button.setAttribute("aria-pressed", "true");
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.button.setAttribute("aria-pressed", "false");
  }

  // The reference's width over its height, 1 until it is known.
  get ratio() {
    return this.low.naturalWidth / this.low.naturalHeight || 1;
  }

  // The stage gets the shape of what is shown, and the reference its place in it.
  fit() {
    if (!this.low.naturalWidth) return;
    const [left, top, right, bottom] = this.view;
    const [width, height] = [right - left, bottom - top];
    const ratio = (this.ratio * width) / height;
    Object.assign(this.stage.style, { aspectRatio: ratio, width: `min(100%, calc(var(--proof-height) * ${ratio}))` });
    Object.assign(this.plane.style, { left: `${(-100 * left) / width}%`, top: `${(-100 * top) / height}%`, width: `${100 / width}%`, height: `${100 / height}%` });
    this.lay();
  }

  // The query has the reference's size before it is moved, so shares become pixels on both sides by the same numbers.
  lay() {
    const [w, h] = [this.plane.clientWidth, this.plane.clientHeight];
    if (!w || !h) return;
    const [a, b, c, d, e, f, g, i, j] = whole(this.match.where.transform);
    const columns = [a, (d * h) / w, 0, g / w, (b * w) / h, e, 0, i / h, 0, 0, 1, 0, c * w, f * h, 0, j];
    this.top.style.transform = `matrix3d(${columns.map((value) => value.toFixed(9)).join(",")})`;
  }
}

const written = ([x, y]) => `${x.toFixed(5)} ${y.toFixed(5)}`;
const outlineOf = (points) => `M${points.map(written).join("L")}Z`;
const marked = (kind, at) => MARKS[kind].map(([x, y, u, v]) => `M${written(at(x, y))}L${written(at(u, v))}`).join("");
const framed = (points, name) => [drawn("path", { class: `${name} under`, d: outlineOf(points) }), drawn("path", { class: name, d: outlineOf(points) })];

function drawBlocks({ columns, blocks, of_query, box }, transform) {
  const [left, top, right, bottom] = box;
  const [width, height] = [(right - left) / columns, (bottom - top) / Math.ceil(blocks.length / columns)];
  const place = (column, row) => {
    const point = [left + column * width, top + row * height];
    return of_query ? moved(transform, point) : point;
  };
  const paths = BLOCKS.map(() => ({ area: "", mark: "" }));
  [...blocks].forEach((kind, number) => {
    if (kind === "0") return;
    const [column, row] = [number % columns, Math.floor(number / columns)];
    paths[kind].area += outlineOf(CORNERS.map(([x, y]) => place(column + x, row + y)));
    paths[kind].mark += marked(kind, (x, y) => place(column + 0.5 + x * 0.22, row + 0.5 + y * 0.22));
  });
  return paths.flatMap(({ area, mark }, kind) => [
    ...(area ? [drawn("path", { class: `block b${kind}`, d: area })] : []),
    ...(mark ? [drawn("path", { class: "mark under", d: mark }), drawn("path", { class: `mark m${kind}`, d: mark })] : []),
  ]);
}

function legend({ blocks }, names) {
  const item = (kind) => {
    const count = blocks.split(String(kind)).length - 1;
    const what = { 3: ` ${names.query}`, 4: ` ${names.reference}` }[kind] || "";
    const swatch = drawn("svg", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" }, drawn("rect", { class: `block b${kind}`, x: 0.5, y: 0.5, width: 13, height: 13 }));
    for (const name of ["mark under", `mark m${kind}`]) swatch.append(drawn("path", { class: name, d: marked(kind, (x, y) => [7 + 3.6 * x, 7 + 3.6 * y]) }));
    return node("li", {}, swatch, node("span", {}, node("b", {}, String(count)), ` ${BLOCKS[kind][count === 1 ? 0 : 1]}${what}`));
  };
  const shown = [1, 2, 3, 4].filter((kind) => blocks.includes(String(kind)));
  return node("ul", { class: "proof-legend", "aria-label": "Legend" }, ...shown.map(item));
}
