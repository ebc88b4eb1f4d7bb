// /ops: asks for the figures every two seconds while the page is looked at.
import { byId, call, el, plural } from "/static/lib.js";

const EVERY_MS = 2000;
const UNKNOWN = "–";
const OLD_SNAPSHOT_SECONDS = 1800;
const LOW_RECALL = 0.95;

const number = (value, digits = 0) =>
  value === null || value === undefined ? UNKNOWN : value.toLocaleString("en", { maximumFractionDigits: digits });
const rate = (value) => number(value, value !== null && value < 10 ? 1 : 0);
const opened = new Set();
const STATES = { leads: "ready, does the matching", "stands by": "ready, stands by to take over" };
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
  const lately = told.lately_seconds ? `in the last ${span(told.lately_seconds)}` : "measured in a moment";
  const shares = (verdicts && verdicts.shares) || {};
  const parts = Object.entries(descriptors).map(([part, count]) => `${part} ${number(count)}`).join(", ");
  return [
    tile("Workers ready", `${ready} of ${told.workers.length}`, "", ready < told.workers.length),
    tile("Items a second", rate(told.items_per_second), lately),
    tile("Messages waiting", told.lag.length ? number(waiting) : UNKNOWN, "in all topics"),
    tile("Time to a verdict, median", span(latency.p50), latency.lately ? lately : "since the workers started"),
    tile("Time to a verdict, 99th percentile", span(latency.p99), latency.lately ? lately : "since the workers started"),
    tile("Items stored", number(told.items), [parts && `descriptors: ${parts}`, bytes(told.index_bytes)].filter(Boolean).join("; ")),
    tile("Oldest change not saved", told.snapshot_age_seconds ? span(told.snapshot_age_seconds) : told.snapshot_age_seconds === 0 ? "none" : UNKNOWN, "age of the oldest change that no snapshot has yet", told.snapshot_age_seconds > OLD_SNAPSHOT_SECONDS),
    tile("Recall of the index", share(recall.share), recall.searches ? `measured by ${plural(recall.searches, "test search", "test searches")}` : "no test search yet", recall.share !== null && recall.share < LOW_RECALL),
    tile("Duplicates", share(shares.duplicate), verdicts ? `of ${plural(verdicts.count, "verdict", "verdicts")}` : ""),
    tile("Unsure", share(shares.unsure), verdicts ? "they go to review" : ""),
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
        el("td", {}, el("span", { class: one.ready ? "state" : "state bad" }, STATES[one.state] || one.state)),
        cell(rate(one.items_per_second), "number"),
        cell(one.address, "brief"),
      ),
    ),
  );
  showLag(told.lag);
  byId("lately").textContent = told.lately_seconds ? `Last ${span(told.lately_seconds)}` : "Recent";
  const dead = told.dead_letters;
  byId("none-dead").hidden = dead.length > 0;
  byId("some-dead").hidden = dead.length === 0;
  byId("dead").replaceChildren(
    ...dead.map((one) => row(el("th", { scope: "row" }, one.reason), cell(number(one.count), "number"), cell(told.lately_seconds ? number(one.lately) : UNKNOWN, "number"))),
  );
  byId("as-of").textContent = `As of ${new Date().toLocaleTimeString("en-GB")}; updates itself.`;
  byId("figures").hidden = false;
}

// One row for each topic and its reader; the partitions of those that were opened stay open.
function showLag(lag) {
  const groups = Map.groupBy(lag, (one) => JSON.stringify([one.topic, one.worker]));
  const rows = [...groups].flatMap(([key, partitions]) => {
    const [{ topic, worker }] = partitions;
    const total = partitions.reduce((sum, one) => sum + one.messages, 0);
    const open = opened.has(key);
    const toggle = el("button", { type: "button", class: "small", "aria-expanded": String(open), "aria-label": `Partitions of ${topic}`, "data-key": key, onclick: () => {
      if (!opened.delete(key)) opened.add(key);
      showLag(lag);
    } }, `${partitions.length} ${open ? "▾" : "▸"}`);
    const details = open ? partitions.map((one) => row(cell(""), cell(`partition ${one.partition}`), cell(""), cell(number(one.messages), "number"))) : [];
    return [row(el("th", { scope: "row" }, topic), el("td", {}, toggle), cell(worker, "brief"), cell(number(total), "number")), ...details];
  });
  const focused = document.activeElement?.dataset?.key;
  byId("lag").replaceChildren(...rows);
  if (focused) [...document.querySelectorAll("#lag button")].find((button) => button.dataset.key === focused)?.focus();
}

async function look() {
  try {
    if (!document.hidden) {
      show(await call("/ops/figures"));
      byId("problem").replaceChildren();
    }
  } catch (problem) {
    byId("problem").replaceChildren(el("p", { class: "notice alert" }, `${problem.message} The figures below are not up to date.`));
  }
  setTimeout(look, EVERY_MS);
}
document.addEventListener("visibilitychange", () => document.hidden || call("/ops/figures").then(show, () => {}));
look();
