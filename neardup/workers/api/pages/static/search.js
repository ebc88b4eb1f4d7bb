// The search page: an upload or an item, what it copies, and a grid of what is most like it.

import { badge, bankBadge, breakable, byId, call, chance, clock, clusterHref, distance, el, film, isTyping, itemPath, picture, pictureSrc, plural, searchHref, shortcuts, similarPath } from "/static/lib.js";
import { proofWords } from "/static/proof.js";
import { whereText } from "/static/where.js";

const PAGE = 24;
const MOST = 240;
// By head of the network: chosen by looking at results among the sample media; nothing is left out for it.
const LESS_ALIKE = { similar: 0.9, copy: 1.3 };
const state = { next: null, asking: null, shown: 0, upload: null };

// --- Asking
async function ask(show) {
  if (byId("head")) byId("head").disabled = bank() !== "seen"; // curated banks are searched as copies are
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  byId("problem").replaceChildren();
  byId("status").textContent = "Searching …";
  byId("found").classList.add("busy");
  byId("asked").classList.add("busy");
  try {
    await show({ signal: asking.signal });
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error);
  } finally {
    if (state.asking === asking) for (const id of ["found", "asked"]) byId(id).classList.remove("busy");
  }
}

function tell(error) {
  byId("status").textContent = "";
  for (const id of ["found", "asked"]) byId(id).hidden = true;
  byId("problem").replaceChildren(el("p", { class: "notice alert" }, error.message));
}

const chosen = (id, otherwise) => byId(id)?.value || otherwise;
const bank = () => chosen("bank", "seen");
const wanted = () => new URLSearchParams({ k: MOST, page: PAGE, grouped: byId("grouped").checked, bank: bank(), head: chosen("head", "similar") });

function searchItem(id) {
  state.upload = null;
  byId("item").value = id;
  return ask(async (options) => {
    const [item, similar] = await Promise.all([call(itemPath(id), options), call(similarPath(id, wanted()), options)]);
    const matches = item.verdict ? item.verdict.matches.filter((match) => match.decision !== "distinct" || match.relation === "variant") : [];
    showAsked(picture("div", pictureSrc(id), `The item ${id}`, {}, film(item)), id, factsOf(item), matches, item);
    showFirst(similar);
  });
}

function searchUpload(file) {
  state.upload = file;
  byId("item").value = "";
  return ask(async (options) => {
    const how = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" }, ...options };
    const [match, similar] = await Promise.all([call("/v1/match", how), call(`/v1/search?${wanted()}`, how)]).catch(async (error) => {
      throw error.status === 415 ? new Error(await unreadable(file)) : error;
    });
    const { media } = match;
    const what = media.kind === "video" ? `video, ${clock(media.seconds)}, ${plural(media.frames, "frame", "frames")} looked at` : "image";
    showAsked(preview(file, media), file.name || "Pasted picture", `${media.width} × ${media.height}, ${what}; it was not stored`, match.matches, null);
    showFirst(similar);
  });
}

async function unreadable(file) {
  const text = await file.slice(0, 512).text();
  const what = /[\x00-\x08\ufffd]/.test(text) ? "is not a picture or video that neardup can read" : "is a text file";
  return `${file.name || "This"} ${what}. Choose a picture or video.`;
}

function preview(file, media) {
  const src = media.kind === "image" ? URL.createObjectURL(file) : "";
  const box = picture("div", src, "What you asked for", {}, film(media));
  box.querySelector("img")?.addEventListener("load", () => URL.revokeObjectURL(src));
  return box;
}

function factsOf(item) {
  const what = item.kind === "video" ? `video, ${clock(item.seconds)}` : "image";
  const copies = item.members - 1;
  const cluster = item.is_original ? (copies ? `the original of ${plural(copies, "copy", "copies")}` : "no copies") : `a copy of ${item.original}`;
  return `${what}, ${cluster}`;
}

// --- What was asked for
function showAsked(shown, name, facts, matches, item) {
  const copies = matches.length
    ? el("ul", { class: "copies", "aria-label": "What it copies" }, ...matches.map(copyRow))
    : el("p", {}, item && !item.verdict ? "Its verdict is no longer stored." : "It copies no stored item.");
  const links = item ? el("p", { class: "row" }, el("a", { class: "button small", href: clusterHref(item.id) }, `Cluster (${item.members})`)) : null;
  byId("asked").replaceChildren(shown, el("div", {}, el("h2", {}, name), el("p", { class: "facts" }, facts), copies, links));
  byId("asked").hidden = false;
}

function copyRow(match) {
  const name = match.bank === "seen" ? el("a", { href: searchHref(match.reference) }, ...breakable(match.reference)) : match.reference;
  const said = [whereText(match), proofWords(match)].filter(Boolean).map((text) => el("span", { class: "distance" }, text));
  return el("li", {},
    picture("div", pictureSrc(match.reference, { bank: match.bank }), `The reference ${match.reference}`),
    el("div", {}, el("p", { class: "name" }, name),
      el("p", { class: "verdict" }, badge(match), bankBadge(match.bank), chance(match), distance(match.distance), ...said),
      match.identical_to && match.identical_to !== match.reference ? el("p", { class: "facts" }, "identical to its copy ", el("a", { href: searchHref(match.identical_to) }, match.identical_to)) : null));
}

// --- Results
function showFirst(answer) {
  state.shown = 0;
  for (const id of ["near", "far"]) byId(id).replaceChildren();
  byId("nothing").hidden = answer.results.length > 0;
  byId("found").hidden = false;
  showPage(answer);
}

function showPage(answer) {
  state.next = answer.next;
  state.shown += answer.results.length;
  const cards = answer.results.map(card);
  answer.results.forEach((result, n) => byId(result.distance > LESS_ALIKE[answer.head] ? "far" : "near").append(cards[n]));
  byId("far-title").hidden = !byId("far").children.length;
  byId("none-near").hidden = Boolean(byId("near").children.length) || !byId("far").children.length;
  byId("more").hidden = !answer.next;
  byId("status").textContent = answer.results.length ? `${plural(state.shown, "result", "results")}, nearest first${answer.next ? "; there are more" : ""}` : "";
  return cards;
}

function card(result) {
  const from = bank();
  const seen = from === "seen";
  const copies = byId("grouped").checked ? result.members - 1 : 0;
  const shown = pictureSrc(result.id, { bank: from });
  const open = seen
    ? picture("a", shown, `Search from ${result.id}`, { href: searchHref(result.id), "data-item": result.id, title: "Search from this" }, film(result))
    : picture("div", shown, `The reference ${result.id}`, {}, film(result));
  const cluster = seen && result.members > 1 ? el("a", { href: clusterHref(result.id) }, copies ? `+${plural(copies, "copy", "copies")}` : `cluster of ${result.members}`) : null;
  return el("li", {}, open,
    el("p", { class: "verdict" }, distance(result.distance), seen ? cluster : bankBadge(from)),
    el("p", { class: "name" }, ...breakable(result.id)),
    result.original === result.id ? null : el("p", { class: "facts" }, "copy of ", ...breakable(result.original)));
}

async function more() {
  const button = byId("more");
  button.disabled = true;
  try {
    const [first] = showPage(await call(`/v1/search?${new URLSearchParams({ cursor: state.next })}`));
    first?.querySelector("a").focus();
  } catch (error) {
    byId("problem").replaceChildren(el("p", { class: "notice alert" }, error.message));
  } finally {
    button.disabled = false;
  }
}

// --- Where requests come from
function fromAddress() {
  const item = new URLSearchParams(location.search).get("item");
  if (item) searchItem(item);
  else for (const id of ["found", "asked"]) byId(id).hidden = true;
}

function goTo(id) {
  history.pushState(null, "", searchHref(id));
  scrollTo({ top: 0 });
  searchItem(id);
}

function take(file) {
  if (!file) return;
  if (location.search) history.pushState(null, "", "/search");
  searchUpload(file);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("item").value.trim();
  if (id) goTo(id);
  else byId("item").focus();
});
byId("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
for (const id of ["grouped", "bank", "head"]) byId(id)?.addEventListener("change", () => (state.upload ? searchUpload(state.upload) : fromAddress()));
byId("more").addEventListener("click", more);
addEventListener("popstate", fromAddress);
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/search?item=']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  goTo(new URL(link.href).searchParams.get("item"));
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => /^(image|video)\//.test(one.type));
  if (file) { event.preventDefault(); take(file); }
});
addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !isTyping(event) && shortcuts()) { event.preventDefault(); byId("item").focus(); }
});
fromAddress();
