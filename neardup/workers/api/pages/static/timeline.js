// Where one video is in another: two tracks on one scale, the stretches that match, and moments to jump to.

import { clock, el, picture, pictureSrc, plural, svg } from "/static/lib.js";

const SHOWN_SPANS = 6;
const SHOWN_PAIRS = 6;

export const isVideo = (facts, match, side) => (facts.kind ? facts.kind === "video" : match.where.spans.some((span) => span[`${side}_end`] > 0));

// Seconds of the reference in a second of the query, as `Span.speed` says: 1 where the ends alone make the difference.
export function speedOf(span) {
  const [query, reference] = ["query", "reference"].map((side) => span[`${side}_end`] - span[`${side}_start`]);
  return Math.min(query, reference) <= 0 || Math.abs(reference - query) <= Math.max(0.07 * query, 0.6) ? 1 : reference / query;
}

// The moment of both that belongs to a second of one: along the stretch that it lies in, or else that is nearest.
export function momentAt(match, side, seconds, lengths) {
  const other = side === "query" ? "reference" : "query";
  const away = (span) => Math.max(span[`${side}_start`] - seconds, seconds - span[`${side}_end`], 0);
  const span = match.where.spans.reduce((best, one) => (best && away(best) <= away(one) ? best : one), null);
  const rate = span ? (side === "query" ? speedOf(span) : 1 / speedOf(span)) * (seconds - span[`${side}_start`]) : 0;
  const theirs = !span ? seconds : span.backwards ? span[`${other}_end`] - rate : span[`${other}_start`] + rate;
  const within = (value, name) => Math.min(Math.max(value, 0), lengths[name]);
  return { [side]: within(seconds, side), [other]: within(theirs, other) };
}

// A few moments, evenly over all stretches.
export function moments(match, count = SHOWN_PAIRS) {
  const long = (span) => Math.max(span.query_end - span.query_start, span.reference_end - span.reference_start, 0.01);
  const total = match.where.spans.reduce((sum, span) => sum + long(span), 0);
  const share = (span) => Math.max(1, Math.round((count * long(span)) / total));
  return match.where.spans.flatMap((span) => {
    const n = share(span);
    return Array.from({ length: n }, (_, i) => {
      const part = (i + 0.5) / n;
      const at = (side) => span[`${side}_start`] + (span.backwards && side === "reference" ? 1 - part : part) * (span[`${side}_end`] - span[`${side}_start`]);
      return { query: at("query"), reference: at("reference") };
    });
  }).slice(0, count);
}

export class Timeline {
  // lengths: seconds of both, 0 for a picture. jump: called with a moment of both.
  constructor(task, match, jump) {
    this.task = task;
    this.match = match;
    this.jump = jump;
    const end = (side) => Math.max(0, ...match.where.spans.map((span) => span[`${side}_end`]));
    this.video = { query: isVideo(task.item, match, "query"), reference: isVideo(match.facts, match, "reference") };
    this.lengths = {
      query: this.video.query ? Math.max(task.item.seconds, end("query"), 0.1) : 0,
      reference: this.video.reference ? Math.max(match.facts.seconds, end("reference"), 0.1) : 0,
    };
    this.scale = 1000 / Math.max(this.lengths.query, this.lengths.reference);
    this.lead = this.video.query ? "query" : "reference";
    this.node = this.draw();
  }

  draw() {
    const { match } = this;
    const length = (side) => (this.video[side] ? clock(this.lengths[side]) : "still");
    this.seek = el("input", {
      type: "range", min: 0, max: this.lengths[this.lead], step: 0.5, id: "seek",
      oninput: () => this.jump(momentAt(match, this.lead, Number(this.seek.value), this.lengths)),
    });
    this.told = el("output", { for: "seek" });
    this.shown = moments(match);
    this.pairs = this.shown.map((moment) => this.pairButton(moment));
    return el("div", { class: "timing" },
      el("div", { class: "timeline" },
        el("span", {}, "original"), this.drawing(), el("span", {}, length("reference")),
        el("span", { class: "low" }, "copy"), el("span", { class: "low" }, length("query"))),
      el("div", { class: "seek" }, el("label", { for: "seek" }, this.lead === "query" ? "Copy at" : "Original at"), this.seek, this.told),
      el("ul", { class: "spans", "aria-label": "Matching sections" }, ...match.where.spans.slice(0, SHOWN_SPANS).map((span, n) => this.spanButton(span, n))),
      match.where.spans.length > SHOWN_SPANS ? el("p", { class: "note" }, `and ${plural(match.where.spans.length - SHOWN_SPANS, "more matching section", "more matching sections")}`) : null,
      el("ul", { class: "pairs", "aria-label": "The same moments in both" }, ...this.pairs.map((button) => el("li", {}, button))));
  }

  drawing() {
    const edges = (side, span) => (this.video[side] ? [span[`${side}_start`] * this.scale, Math.max(span[`${side}_end`] * this.scale, span[`${side}_start`] * this.scale + 4)] : [0, 12]);
    const track = (side, y) => svg("rect", { class: "track", x: 0, y, width: this.video[side] ? Math.max(4, this.lengths[side] * this.scale) : 12, height: 14, rx: 2 });
    this.marks = { reference: svg("line", { class: "now", y1: 0, y2: 17 }), query: svg("line", { class: "now", y1: 47, y2: 64 }) };
    const drawing = svg("svg", { viewBox: "0 0 1000 64", preserveAspectRatio: "none", role: "img", "aria-label": this.match.where.spans.map((span) => this.sentence(span)).join("; ") });
    drawing.append(track("reference", 1), track("query", 49));
    this.match.where.spans.forEach((span, number) => {
      const colour = `c${number % 5}`;
      const [top, low] = [edges("reference", span), edges("query", span)];
      drawing.append(
        svg("polygon", { class: `link ${colour}`, points: `${top[0]},15 ${top[1]},15 ${low[span.backwards ? 0 : 1]},49 ${low[span.backwards ? 1 : 0]},49` }),
        svg("rect", { class: `band ${colour}`, x: top[0], y: 1, width: top[1] - top[0], height: 14 }),
        svg("rect", { class: `band ${colour}`, x: low[0], y: 49, width: low[1] - low[0], height: 14 }));
    });
    drawing.append(this.marks.reference, this.marks.query);
    drawing.addEventListener("click", (event) => this.clicked(event, drawing.getBoundingClientRect()));
    return drawing;
  }

  clicked(event, box) {
    const near = event.clientY - box.top < box.height / 2 ? "reference" : "query";
    const side = this.video[near] ? near : this.lead;
    const seconds = (1000 * (event.clientX - box.left)) / box.width / this.scale;
    this.jump(momentAt(this.match, side, Math.min(seconds, this.lengths[side]), this.lengths));
  }

  sentence(span) {
    const at = (side) => {
      const [from, to] = [span[`${side}_start`], span[`${side}_end`]];
      return to - from < 0.05 ? clock(from, true) : `${clock(from, true)} – ${clock(to, true)}`;
    };
    if (!this.video.query) return `this picture is in the original at ${at("reference")}`;
    if (!this.video.reference) return `the original picture is here at ${at("query")}`;
    const speed = speedOf(span);
    const how = `${span.backwards ? ", backwards" : ""}${speed === 1 ? "" : `, at ${speed.toFixed(2)} × its speed`}`;
    return `${at("query")} here is ${at("reference")} of the original${how}`;
  }

  spanButton(span, number) {
    const dot = svg("svg", { viewBox: "0 0 9 9", width: 9, height: 9, class: "dot", "aria-hidden": "true" }, svg("rect", { class: `c${number % 5}`, width: 9, height: 9, rx: 2 }));
    const start = () => this.jump(momentAt(this.match, this.lead, span[`${this.lead}_start`], this.lengths));
    return el("li", {}, el("button", { type: "button", class: "small", onclick: start }, dot, this.sentence(span)));
  }

  pairButton(moment) {
    const { item, } = this.task;
    const at = (side) => (this.video[side] ? { at: moment[side] } : {});
    const label = this.video.query && this.video.reference ? `${clock(moment.query, true)} = ${clock(moment.reference, true)}` : clock(moment[this.lead], true);
    const small = (id, how) => {
      const box = picture("span", pictureSrc(id, { side: 160, ...how }), "");
      box.querySelector("img").loading = "lazy";
      return box;
    };
    return el("button", { type: "button", title: "Jump to this moment", onclick: () => this.jump(moment) },
      small(this.match.reference, { bank: this.match.bank, ...at("reference") }), small(item.id, at("query")), label);
  }

  // Show which moment is looked at.
  mark(moment) {
    for (const side of ["query", "reference"]) {
      const x = this.video[side] ? moment[side] * this.scale : 6;
      for (const end of ["x1", "x2"]) this.marks[side].setAttribute(end, x);
    }
    this.seek.value = moment[this.lead];
    this.told.textContent = clock(moment[this.lead], true);
    this.pairs.forEach((button, number) => {
      const here = Math.abs(this.shown[number][this.lead] - moment[this.lead]) < 0.26;
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
  }

  step(seconds) {
    const now = Number(this.seek.value);
    this.jump(momentAt(this.match, this.lead, Math.min(Math.max(now + seconds, 0), this.lengths[this.lead]), this.lengths));
  }
}
