// The review page: takes items from the queue, shows them pair by pair, and sends decisions.

import { badge, bankBadge, breakable, byId, call, chanceText, doubtText, el, film, isTyping, percent, picture, pictureSrc, plural, searchHref, send, setShortcuts, shortcuts, similarPath } from "/static/lib.js";
import { Pair } from "/static/pair.js";
import { proofWords } from "/static/proof.js";
import { whereText } from "/static/where.js";

const IN_HAND = 2;
const SHOWN_WAITING = 12;
const MOST_WAITING = 100;
const PASSED = 1000;
const SETTLE_MS = 15_000;
const LOOK_MS = 10_000;
const PAUSE_MS = 250;
const LEASE_MS = 1000 * Number(byId("review").dataset.lease);
const { queue } = byId("review").dataset;
const pair = new Pair(byId("pair"));
const state = {
  seat: kept("seat", () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => "abcdefghijklmnopqrstuvwxyz012345"[byte % 32]).join("")),
  skipped: kept("skipped", () => []),
  hand: [],          // tasks that are ours, the one that is looked at first
  match: 0,          // which of its matches
  settling: new Map(), // id of an item that was decided on → when the queue will know
  decided: kept("decided", () => []),
  waiting: null,
  active: Date.now(),
  taken: 0,          // when tasks were last asked for
  sending: Promise.resolve(),
  asking: null,
};

function kept(name, make) {
  try { return JSON.parse(sessionStorage.getItem(name)) ?? keep(name, make()); } catch { return make(); }
}
function keep(name, value) {
  try { sessionStorage.setItem(name, JSON.stringify(value)); } catch { /* it holds for this page only */ }
  return value;
}
function problem(error, passes = false) {
  byId("problem").replaceChildren(el("p", { class: "notice alert" }, error.message || error));
  byId("problem").classList.toggle("passes", passes);
}
// What kept us from asking is over; that a decision was refused stays until it is read.
const allWell = () => document.querySelector("#problem.passes")?.replaceChildren();
const say = (text) => { byId("said").textContent = text; };

// --- The queue
function passed() {
  for (const [id, until] of state.settling) if (until < Date.now()) state.settling.delete(id);
  return [...state.settling.keys(), ...state.skipped.slice(-PASSED)];
}

// Ask for tasks until enough are in hand; those in hand are kept for us.
function take() {
  state.asking ??= (async () => {
    try {
      const answer = await send("/review/tasks", { seat: state.seat, count: IN_HAND, passed: passed(), queue });
      const ours = answer.results.filter((task) => !state.settling.has(task.item.id));
      if (Date.now() - state.taken > LEASE_MS) state.hand = [];
      state.taken = Date.now();
      allWell();
      const idle = !state.hand.length;
      for (const task of ours) {
        const at = state.hand.findIndex((one) => one.item.id === task.item.id);
        if (at < 0) state.hand.push(task);
        else if (at > 0) state.hand[at] = task;
      }
      left(answer.waiting);
      for (const task of state.hand.slice(1)) preload(task);
      if (idle) begin();
    } catch (error) {
      problem(error, true);
      showRest();
    } finally {
      state.asking = null;
    }
  })();
  return state.asking;
}

function preload(task) {
  for (const match of task.matches.slice(0, 1)) {
    if (match.where.spans.length) continue;
    for (const src of [pictureSrc(task.item.id, { side: 960 }), pictureSrc(match.reference, { bank: match.bank, side: 960 })]) new Image().src = src;
  }
}

function left(queues) {
  for (const [name, count] of Object.entries(queues)) byId(`queued-${name}`).textContent = count.toLocaleString("en");
  const waiting = state.waiting = queues[queue];
  document.title = `${waiting ? `(${waiting.toLocaleString("en")}) ` : ""}Review · neardup`;
}

// At once, but one at a time and with a pause between, however quickly items come.
let looking = false;
let again = false;
async function lookSoon() {
  again = true;
  if (looking) return;
  looking = true;
  while (again) {
    again = false;
    await look();
    await new Promise((done) => { setTimeout(done, PAUSE_MS); });
  }
  looking = false;
}

async function look() {
  try {
    const count = Math.min(SHOWN_WAITING + state.skipped.length + state.settling.size, MOST_WAITING);
    const answer = await call(`/review/waiting?${new URLSearchParams({ seat: state.seat, count, queue })}`);
    left(answer.waiting);
    allWell();
    const over = new Set(passed());
    const shown = answer.results.filter((task) => !over.has(task.item.id) || task.item.id === state.hand[0]?.item.id).slice(0, SHOWN_WAITING);
    byId("waiting").replaceChildren(...shown.map(waitingRow));
    const rest = state.waiting - state.settling.size - shown.length;
    byId("next").querySelector(".more")?.remove();
    if (rest > 0) byId("next").append(el("p", { class: "more" }, `and ${rest.toLocaleString("en")} more`));
    byId("next").hidden = !shown.length;
    const free = shown.some((task) => !task.claimed_by);
    if (free && state.hand.length < IN_HAND) take();
    else if (!state.asking) showRest();
  } catch (error) {
    problem(error, true);
  }
}

function waitingRow(task) {
  const here = state.hand[0]?.item.id === task.item.id;
  const best = task.matches[0];
  const who = here ? el("span", { class: "here" }, "here") : task.mine ? "next" : task.claimed_by ? `with ${task.claimed_by}` : null;
  return el("li", {}, picture("div", pictureSrc(task.item.id), "", {}, film(task.item)),
    el("div", {}, el("p", { class: "name" }, ...breakable(task.item.id)), el("p", { class: "verdict" }, best ? badge(best) : null, best ? bankBadge(best.bank) : null, who)));
}

// --- One task
function begin() {
  state.match = 0;
  const [task] = state.hand;
  if (!task) { showRest(); return; }
  if (!task.matches.length) { skip(); return; }
  show();
}

function show() {
  const [task] = state.hand;
  const match = task.matches[state.match];
  byId("rest").hidden = true;
  byId("actions").hidden = false;
  if (byId("about")) byId("about").hidden = false;
  pair.show(task, match);
  showWhy(task, match);
  say(`${task.item.id} and ${match.reference}: ${match.decision}, ${chanceText(match)}`);
  lookSoon();
}

function showRest() {
  if (state.hand.length) return;
  for (const id of ["pair", "actions", "why", "about"]) if (byId(id)) byId(id).hidden = true;
  const skipped = state.skipped.length;
  const others = state.waiting - state.settling.size > 0 ? "Other reviewers have the remaining items, or you skipped them." : "No items wait for a decision.";
  const shown = JSON.stringify([others, skipped, state.decided.length]);
  if (byId("rest").dataset.shown !== shown || byId("rest").hidden) {
    const again = el("button", { type: "button", onclick: () => { state.skipped = keep("skipped", []); take(); } }, `Look at ${plural(skipped, "skipped item", "skipped items")} again`);
    const back = el("button", { type: "button", onclick: undo }, "Undo the last decision");
    byId("rest").replaceChildren(
      el("p", { class: "empty-mark", "aria-hidden": "true" }, "✓"), el("p", {}, others), el("p", { class: "muted" }, "New items appear here by themselves."),
      ...(skipped ? [el("p", {}, again)] : []), ...(state.decided.length ? [el("p", {}, back)] : []));
    byId("rest").dataset.shown = shown;
    byId("rest").hidden = false;
    say(others);
  }
}

function showWhy(task, match) {
  const row = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span"));
  bar.firstChild.style.width = `${100 * match.probability}%`;
  byId("why").replaceChildren(
    el("h2", {}, "Why"),
    el("dl", { class: "facts-list" },
      ...row("Probability", percent(match.probability), bar),
      ...row("Evidence", match.evidence.toFixed(3)),
      ...row("Distance", `${match.distance.toFixed(3)} of 4`),
      ...row("Decision", match.decision, match.exact ? `, identical ${match.exact}` : "", match.identical_to && match.identical_to !== match.reference ? ` with ${match.identical_to}` : ""),
      ...row("Bank", match.bank),
      ...(match.facts.members > 1 ? row("Cluster", `${match.facts.members} items`) : []),
      ...row("Matching part", whereText({ ...match, doubt: "" }) || "all of it"),
      ...(match.doubt ? row("In doubt", doubtText(match)) : []),
      ...(match.proof ? row("Proof", proofWords(match)) : []),
      ...(task.running ? row("Live", "the stream goes on; the match may grow") : [])),
    ...(task.matches.length > 1 ? [el("h3", {}, `Matches (${task.matches.length})`), el("ul", { class: "others" }, ...task.matches.map((one, number) => el("li", {}, otherButton(one, number))))] : []),
    el("h3", {}, "Nearest items"), el("ul", { class: "near", id: "near" }));
  byId("why").hidden = false;
  showNear(task);
}

function otherButton(match, number) {
  return el("button", { type: "button", "aria-current": number === state.match ? "true" : null, onclick: () => toMatch(number) },
    picture("span", pictureSrc(match.reference, { bank: match.bank }), ""),
    el("span", {}, match.reference, el("span", { class: "verdict" }, badge(match), bankBadge(match.bank), match.open || match.relation === "variant" ? "" : " decided")));
}

async function showNear(task) {
  task.near ??= call(similarPath(task.item.id, "k=8&grouped=false&head=copy")).then((answer) => answer.results, () => []);
  const results = await task.near;
  if (state.hand[0] !== task) return;
  const shown = results.map((one) => el("li", {}, picture("a", pictureSrc(one.id), `Search from ${one.id}`, { href: searchHref(one.id), target: "_blank", title: one.id }), `distance ${one.distance.toFixed(2)}`));
  byId("near").replaceChildren(...(shown.length ? shown : [el("li", {}, "none")]));
}

function toMatch(number) {
  const { matches } = state.hand[0];
  state.match = Math.min(Math.max(number, 0), matches.length - 1);
  show();
}

// --- Decisions
function decide(outcome) {
  const [task] = state.hand;
  if (!task) return;
  const match = task.matches[state.match];
  const done = { task: { ...task, near: undefined }, match: state.match, outcome, item: task.item.id, reference: match.reference, bank: match.bank };
  state.decided = keep("decided", [...state.decided, done].slice(-50));
  byId("undo").disabled = false;
  byId("problem").replaceChildren();
  match.open = false;
  // A certain match that stays open needs nobody.
  const open = task.matches.findIndex((one) => one.open && (queue === "all" || one.decision === "unsure"));
  const over = outcome === "match" || open < 0;
  if (over) settle(task);
  post(done, outcome);
  if (over) next(); else toMatch(open);
}

// The queue does not know it yet; until it does, we pass over it.
function settle(task) {
  state.settling.set(task.item.id, Date.now() + SETTLE_MS);
}

function post(done, outcome) {
  const body = { item: done.item, reference: done.reference, bank: done.bank, outcome };
  state.sending = state.sending.then(() => send("/v1/reviews", body)).then(() => lookSoon(), (error) => {
    if (outcome !== "undo") state.decided = keep("decided", state.decided.filter((one) => one !== done));
    byId("undo").disabled = !state.decided.length;
    state.settling.delete(done.item);
    problem(error);
    lookSoon();
  });
}

function next() {
  state.hand.shift();
  if (state.hand.length) begin();
  take().then(showRest);
}

function skip() {
  const [task] = state.hand;
  if (!task) return;
  state.skipped = keep("skipped", [...state.skipped, task.item.id]);
  send("/review/releases", { seat: state.seat, items: [task.item.id] }).catch(problem);
  next();
}

function undo() {
  const done = state.decided.at(-1);
  if (!done) return;
  state.decided = keep("decided", state.decided.slice(0, -1));
  byId("undo").disabled = !state.decided.length;
  post(done, "undo");
  const task = done.task;
  task.matches[done.match].open = true;
  state.settling.delete(task.item.id);
  state.hand = [task, ...state.hand.filter((one) => one.item.id !== task.item.id)];
  state.match = done.match;
  show();
}

// --- Keys and buttons
const KEYS = {
  m: () => decide("match"), n: () => decide("not-a-match"), s: skip, u: undo, f: () => state.hand.length && pair.flip(),
  1: () => view("side"), 2: () => view("slider"), 3: () => view("difference"), 4: () => view("proof"),
  b: () => state.hand.length && pair.blink(),
  "[": () => state.hand.length && toMatch(state.match - 1), "]": () => state.hand.length && toMatch(state.match + 1),
  ArrowLeft: () => state.hand.length && pair.step(-1), ArrowRight: () => state.hand.length && pair.step(1),
  "?": () => byId("help").showModal(),
};
const view = (name) => state.hand.length && pair.setView(name);

addEventListener("keydown", (event) => {
  state.active = Date.now();
  if (isTyping(event) || event.repeat && !event.key.startsWith("Arrow") || document.querySelector("dialog[open]")) return;
  if (event.key.startsWith("Arrow") ? event.target.closest?.("input") : !shortcuts()) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("confirm").addEventListener("click", () => decide("match"));
byId("reject").addEventListener("click", () => decide("not-a-match"));
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("keys").checked = shortcuts();
byId("keys").addEventListener("change", () => setShortcuts(byId("keys").checked));
addEventListener("pointerdown", () => { state.active = Date.now(); });

// --- What comes by itself
function listen() {
  const events = new EventSource("/v1/feed");
  events.addEventListener("open", () => { byId("line").textContent = "live"; lookSoon(); });
  events.addEventListener("error", () => { byId("line").textContent = "connection lost, trying again"; });
  for (const decision of ["duplicate", "unsure"]) events.addEventListener(decision, () => lookSoon());
}

setInterval(() => {
  if (document.hidden) return;
  lookSoon();
  const here = Date.now() - state.active < LEASE_MS;
  if (here && Date.now() - state.taken > LEASE_MS / 4) take();
}, LOOK_MS);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  state.active = Date.now();
  take();
});
addEventListener("pagehide", () => {
  const items = state.hand.map((task) => task.item.id);
  if (items.length) fetch("/review/releases", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ seat: state.seat, items }) });
});
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

byId("undo").disabled = !state.decided.length;
take();
listen();
