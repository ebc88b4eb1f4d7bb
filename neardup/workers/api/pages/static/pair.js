// An item and what it was matched with: side by side, one over the other, their difference, or as a proof laid them.

import { badge, bankBadge, breakable, chance, clock, clusterHref, distance, el, pictureSrc } from "/static/lib.js";
import { Timeline, moments } from "/static/timeline.js";
import { ProofView, proofSentences, proofWords } from "/static/proof.js";
import { cornersOn, shapeOn, whereText } from "/static/where.js";

const LARGE = 960;
const LARGEST = 2048;
const VIEWS = { side: "Side by side", slider: "Slider", difference: "Difference", proof: "Proof" };
const NAMES = { query: "the copy", reference: "the original" };
const WHOLE = [0, 0, 1, 1];

export class Pair {
  constructor(place) {
    this.place = place;
    this.view = "side";
    this.flipped = false;
  }

  show(task, match) {
    this.task = task;
    this.match = match;
    this.flipped = false;
    this.timeline = match.where.spans.length ? new Timeline(task, match, (moment) => this.jump(moment)) : null;
    this.moment = this.timeline ? moments(match, 1)[0] : {};
    this.stage = el("div", { class: "pictures" });
    this.note = el("p", { class: "note", hidden: true });
    this.place.replaceChildren(...this.head(), this.controls(), this.stage, this.note, ...(this.timeline ? [this.timeline.node] : []));
    this.place.classList.toggle("timed", Boolean(this.timeline));
    this.place.hidden = false;
    this.draw();
    this.timeline?.mark(this.moment);
  }

  head() {
    const { task, match } = this;
    const said = [whereText(match), proofWords(match)].filter(Boolean);
    return [
      el("h2", { id: "pair-title" }, el("span", { class: "muted" }, "Does "), ...breakable(task.item.id), el("span", { class: "muted" }, ` show the same ${[task.item, match.facts].every((one) => one?.kind === "video") ? "video" : "picture"} as `), ...breakable(match.reference), el("span", { class: "muted" }, "?")),
      el("p", { class: "verdict" }, badge(match), bankBadge(match.bank), chance(match), distance(match.distance), ...said.map((text) => el("span", { class: "distance" }, text))),
    ];
  }

  controls() {
    const shown = this.shown();
    const options = Object.entries(VIEWS).filter(([view]) => this.has(view)).map(([view, name], number) =>
      el("label", {}, el("input", { type: "radio", name: "view", value: view, checked: view === shown, onchange: () => this.setView(view) }), el("span", {}, `${name} `, el("kbd", { "aria-hidden": "true" }, String(number + 1)))));
    this.flipBox = el("input", { type: "checkbox", checked: this.flipped, onchange: () => this.flip(this.flipBox.checked) });
    return el("div", { class: "views" },
      el("fieldset", { class: "segments" }, el("legend", { class: "hidden" }, "View"), ...options),
      el("label", { class: "row" }, this.flipBox, el("span", {}, "Flip the copy ", el("kbd", { "aria-hidden": "true" }, "f"))));
  }

  has(view) {
    return view !== "proof" || Boolean(this.match.proof && this.match.where.transform);
  }

  // The view that is wanted, where this pair has it.
  shown() {
    return this.has(this.view) ? this.view : "side";
  }

  setView(view) {
    if (!this.has(view)) return;
    this.view = view;
    this.place.querySelector(`input[name=view][value=${view}]`).checked = true;
    this.draw();
  }

  flip(flipped = !this.flipped) {
    this.flipped = flipped;
    this.flipBox.checked = flipped;
    for (const node of this.stage.querySelectorAll(".mirror")) node.classList.toggle("flipped", flipped);
  }

  jump(moment) {
    this.moment = moment;
    this.timeline.mark(moment);
    this.note.hidden = true;
    for (const side of ["query", "reference"]) {
      const image = this.images[side];
      if (!image) continue; // a proof is of its own moment
      const src = this.src(side);
      if (image.getAttribute("src") !== src) image.src = src;
      if (this.times?.[side]) this.times[side].textContent = this.timeText(side);
    }
  }

  // Left and right: through a video, or the slider.
  step(direction) {
    if (this.slide) this.slideTo(Number(this.slide.value) + 5 * direction);
    else this.timeline?.step(direction / 2);
  }

  // --- Pictures
  src(side, size = LARGE, moment = this.moment) {
    const at = this.timeline?.video[side] ? moment[side] : undefined;
    const [id, bank] = side === "query" ? [this.task.item.id, "seen"] : [this.match.reference, this.match.bank];
    return pictureSrc(id, { bank, at, side: size });
  }

  image(side, alt) {
    const image = el("img", { src: this.src(side), alt, decoding: "async", draggable: "false" });
    image.addEventListener("error", () => this.miss(side));
    this.images[side] = image;
    return image;
  }

  miss(side) {
    this.note.textContent = `${side === "query" ? "The copy" : "The original"} cannot be shown${this.timeline?.video[side] ? " at this moment: its file is no longer stored" : ""}.`;
    this.note.hidden = false;
  }

  timeText(side) {
    return this.timeline?.video[side] ? `at ${clock(this.moment[side], true)}` : "";
  }

  draw() {
    this.proof?.stop();
    this.proof = null;
    this.images = {};
    this.times = null;
    this.slide = null;
    this.note.hidden = true;
    const view = this.shown();
    this.flipBox.closest("label").hidden = view === "proof"; // which knows itself what is mirrored
    this.stage.replaceChildren(...(view === "side" ? this.side() : view === "proof" ? this.laid() : this.over()));
  }

  side() {
    this.times = { query: el("span", { class: "distance" }, this.timeText("query")), reference: el("span", { class: "distance" }, this.timeText("reference")) };
    const figure = (side, title, id, href) => {
      const corners = cornersOn(side, this.match);
      const image = this.image(side, `${title}: ${id}`);
      const mirror = el("span", { class: `picture${side === "query" ? " mirror" : ""}${side === "query" && this.flipped ? " flipped" : ""}` }, image);
      if (corners) image.addEventListener("load", () => { mirror.querySelector("svg")?.remove(); mirror.append(shapeOn(image, corners)); });
      const open = (event) => { event.currentTarget.href = this.src(side, LARGEST); };
      const name = el("bdi", {}, ...breakable(id));
      return el("figure", {},
        el("figcaption", {}, el("span", { class: "label" }, title), href ? el("a", { href, target: "_blank", title: "Its cluster" }, name) : name, this.times[side]),
        el("a", { href: this.src(side, LARGEST), target: "_blank", title: "Open large", onclick: open }, mirror));
    };
    const { task, match } = this;
    return [el("div", { class: "sides" },
      figure("reference", "Original", match.reference, match.bank === "seen" ? clusterHref(match.reference) : null),
      figure("query", "Copy", task.item.id, clusterHref(task.item.id)))];
  }

  // As the proof laid one over the other, at its own moment of a video.
  laid() {
    const { match, task } = this;
    const moment = { query: match.proof.query_second, reference: match.proof.reference_second };
    const of = (side, id) => ({ src: this.src(side, LARGE, moment), alt: `${side === "query" ? "Copy" : "Original"}: ${id}`, at: this.timeline?.video[side] ? clock(moment[side], true) : "" });
    this.proof = new ProofView(match, { query: of("query", task.item.id), reference: of("reference", match.reference) }, NAMES);
    this.proof.top.addEventListener("error", () => this.miss("query"));
    this.proof.low.addEventListener("error", () => this.miss("reference"));
    const said = el("p", { class: "proof-said" });
    const say = () => { said.textContent = proofSentences(match, NAMES, this.proof.ratio).join(" "); };
    this.proof.low.addEventListener("load", say);
    say();
    return [this.proof.node, said];
  }

  blink() {
    this.setView("proof");
    this.proof?.blink();
  }

  over() {
    const { match } = this;
    const low = this.image("reference", `Original: ${match.reference}`);
    const top = this.image("query", `Copy: ${this.task.item.id}`);
    fill(low, match.where.reference_box || WHOLE);
    fill(top, match.where.query_box || WHOLE);
    const mirror = el("div", { class: `layer mirror${this.flipped ? " flipped" : ""}` }, top);
    const cover = el("div", { class: "layer top" }, mirror);
    const stage = el("div", { class: `stage ${this.view}` }, el("div", { class: "layer" }, low), cover);
    low.addEventListener("load", () => shape(stage, low, match.where.reference_box || WHOLE));
    if (this.view === "difference") return [stage, el("p", { class: "note" }, "Black is the same in both.")];
    const cut = el("div", { class: "cut" });
    stage.append(cut);
    this.cut = (share) => {
      cover.style.clipPath = `inset(0 0 0 ${share}%)`;
      cut.style.left = `${share}%`;
    };
    this.slide = el("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Where the original ends and the copy begins", oninput: () => this.cut(this.slide.value) });
    this.cut(50);
    const drag = (event) => {
      if (event.type === "pointermove" && !(event.buttons & 1)) return;
      const box = stage.getBoundingClientRect();
      this.slideTo((100 * (event.clientX - box.left)) / box.width);
    };
    stage.addEventListener("pointerdown", drag);
    stage.addEventListener("pointermove", drag);
    return [stage, el("div", { class: "slide" }, el("span", {}, "original"), this.slide, el("span", {}, "copy"))];
  }

  slideTo(share) {
    this.slide.value = share;
    this.cut(this.slide.value);
  }
}

// A picture lies in its layer so that a part of it fills the layer.
function fill(image, [left, top, right, bottom]) {
  const [width, height] = [right - left, bottom - top];
  Object.assign(image.style, {
    width: `${100 / width}%`, height: `${100 / height}%`, left: `${(-100 * left) / width}%`, top: `${(-100 * top) / height}%`,
  });
}

function shape(stage, image, [left, top, right, bottom]) {
  const ratio = (image.naturalWidth * (right - left)) / (image.naturalHeight * (bottom - top));
  Object.assign(stage.style, { aspectRatio: ratio, width: `min(100%, calc(min(52vh, 520px) * ${ratio}))`, height: "auto" });
}
