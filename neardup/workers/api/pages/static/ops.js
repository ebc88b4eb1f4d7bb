// /ops: asks for the figures every two seconds while the page is looked at.
import { byId, call, el, plural } from "/static/lib.js";

const EVERY_MS = 2000;
const UNKNOWN = "–";
const OLD_SNAPSHOT_SECONDS = 1800;
const LOW_RECALL = 0.95;

const number = (value, digits = 0) =>
  value === null || value === undefined ? UNKNOWN : value.toLocaleString("en", { maximumFractionDigits: digits });
const rate = (value) => number(value, value !== null && value < 10 ? 1 : 0);
const share = (value) => (value === null || value === undefined ? UNKNOWN : `${(100 * value).toFixed(1)} %`);

function span(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function bytes(value) {
  if (value === null) return "";
  const step = Math.min(4, Math.floor(Math.log2(Math.max(value, 1)) / 10));
  return `${(value / 2 ** (10 * step)).toFixed(step ? 1 : 0)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][step]}`;
}

const tile = (name, value, note = "", bad = false) =>
  el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", { class: "value" }, value), note ? el("dd", { class: "note" }, note) : null);

function tiles(told) {
  const ready = told.workers.filter((one) => one.ready).length;
  const waiting = told.lag.reduce((sum, one) => sum + one.messages, 0);
  const { latency, recall, verdicts, descriptors } = told;
  const lately = told.lately_seconds ? `over ${span(told.lately_seconds)}` : "a moment";
  const shares = (verdicts && verdicts.shares) || {};
  const parts = Object.entries(descriptors).map(([part, count]) => `${part} ${number(count)}`).join(", ");
  return [
    tile("Workers ready", `${ready} of ${told.workers.length}`, "", ready < told.workers.length),
    tile("Items a second", rate(told.items_per_second), lately),
    tile("Messages that wait", told.lag.length ? number(waiting) : UNKNOWN, "in all partitions"),
    tile("To a verdict, p50", span(latency.p50), latency.lately ? lately : "since the start"),
    tile("To a verdict, p99", span(latency.p99), latency.lately ? lately : "since the start"),
    tile("Items held", number(told.items), [parts && `descriptors: ${parts}`, bytes(told.index_bytes)].filter(Boolean).join("; ")),
    tile("Not in a snapshot for", span(told.snapshot_age_seconds), "0 while nothing is missing", told.snapshot_age_seconds > OLD_SNAPSHOT_SECONDS),
    tile("Recall, by the canary", share(recall.share), recall.searches ? `of ${plural(recall.searches, "search", "searches")} checked` : "no search checked yet", recall.share !== null && recall.share < LOW_RECALL),
    tile("Duplicates", share(shares.duplicate), verdicts ? `of ${plural(verdicts.count, "verdict", "verdicts")}` : ""),
    tile("Unsure", share(shares.unsure), verdicts ? "go to review" : ""),
  ];
}

const row = (...cells) => el("tr", {}, ...cells);
const cell = (text, name = null) => el("td", { class: name }, text);

function show(told) {
  byId("tiles").replaceChildren(...tiles(told));
  byId("workers").replaceChildren(
    ...told.workers.map((one) =>
      row(
        el("th", { scope: "row" }, one.kind),
        el("td", {}, el("span", { class: one.ready ? "state" : "state bad" }, one.state)),
        cell(one.items_per_second === null ? "" : rate(one.items_per_second), "number"),
        cell(one.address, "brief"),
      ),
    ),
  );
  byId("lag").replaceChildren(
    ...told.lag.map((one) => row(cell(one.topic), cell(String(one.partition)), cell(one.worker, "brief"), cell(number(one.messages), "number"))),
  );
  const dead = told.dead_letters;
  byId("none-dead").hidden = dead.length > 0;
  byId("some-dead").hidden = dead.length === 0;
  byId("dead").replaceChildren(
    ...dead.map((one) => row(el("th", { scope: "row" }, one.reason), cell(number(one.count), "number"), cell(told.lately_seconds ? number(one.lately) : "", "number"))),
  );
  byId("as-of").textContent = `As of ${new Date().toLocaleTimeString("en-GB")}; updates itself.`;
  byId("figures").hidden = false;
}

async function look() {
  try {
    if (!document.hidden) {
      show(await call("/ops/figures"));
      byId("problem").replaceChildren();
    }
  } catch (problem) {
    byId("problem").replaceChildren(el("p", { class: "notice alert" }, `${problem.message} The figures below are old.`));
  }
  setTimeout(look, EVERY_MS);
}
document.addEventListener("visibilitychange", () => document.hidden || call("/ops/figures").then(show, () => {}));
look();
