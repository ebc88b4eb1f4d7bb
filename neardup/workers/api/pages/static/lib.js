// What all pages share: elements, calls of the API, and words for numbers.

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A problem that the API told, in its own words.
export class Problem extends Error {
  constructor(status, body) {
    super([body.detail || body.title || `status ${status}`, body.remedy].filter(Boolean).join(". "));
    this.status = status;
  }
}

export async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The API worker does not answer", remedy: "Check that it runs, and try again." });
  }
  if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  const body = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body || {});
  return body;
}

export const send = (path, body, options = {}) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...options });

// An id with what nobody can see written out, as older ones may have it: \\t, \\u202e; joiners within emoji stay.
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const UNSHOWN = /(?!(?<=[^\x00-\x7f])[\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const escaped = (code) => (code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8]);
export const visible = (id) =>
  id.replace(UNSHOWN, (one) => {
    const code = one.codePointAt(0), [letter, digits] = escaped(code);
    return SHORT[one] ?? `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });

// An id, as nodes: a long one breaks after a mark first, so that `rocket.gif` stays whole.
export const breakable = (shown) => parts(visible(shown));
const parts = (id) =>
  (id.match(/[^/_-]*[/_-]|[^/_-]+/g) || [id]).flatMap((part, n) => (n ? [el("wbr"), part] : [part]));

// An id travels as a parameter: in a path, others would rewrite it.
export const itemPath = (id) => `/v1/items?${new URLSearchParams({ id })}`;
export const similarPath = (id, rest) => `/v1/similar?${new URLSearchParams({ id })}&${rest}`;
export const searchHref = (id) => `/search?${new URLSearchParams({ item: id })}`;
export const clusterHref = (id) => `/clusters?${new URLSearchParams({ item: id })}`;
export const pictureSrc = (id, { bank, at, side } = {}) =>
  `/v1/pictures?${new URLSearchParams({ id, ...(bank && bank !== "seen" ? { bank } : {}), ...(at === undefined ? {} : { at: at.toFixed(2) }), ...(side ? { side } : {}) })}`;

export const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
// As in reports and `pages/words.py`.
export const percent = (share) =>
  share > 0.9999 ? "> 99.99 %" : share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(share >= 0.99 ? 2 : share >= 0.1 ? 0 : 1)} %`;

export function clock(seconds, exact = false) {
  const tenths = Math.round(seconds * 10);
  const whole = exact ? Math.floor(tenths / 10) : Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const rest = exact && tenths % 10 ? `.${tenths % 10}` : "";
  return `${h ? `${h}:${String(m).padStart(2, "0")}` : m}:${String(s).padStart(2, "0")}${rest}`;
}

const EXACT = { bytes: "identical file", pixels: "identical picture" };
// Of the pair: a copy of a copy is identical to that one, not to the original.
export const isExact = (match) => match.exact in EXACT && (!match.identical_to || match.identical_to === match.reference);
export const badge = (match) =>
  el("span", { class: `badge ${isExact(match) ? "exact" : match.decision}` }, isExact(match) ? EXACT[match.exact] : match.relation === "variant" ? "variant" : match.decision);
// Why a match is unsure although its pictures are the same.
const DOUBTS = { "other-sound": "same pictures, other sound", "no-sound": "same pictures, one is silent", "dark-ground": "pale on transparent ground", "stretched": "measurements or labels, not quite the same", "unproved": "no proof in time" };
export const doubtText = (match) => (match.doubt ? DOUBTS[match.doubt] || match.doubt : null);
// Of a variant, that it shows the same picture is no question.
export const chanceText = (match) => `probability ${percent(match.probability)}`;
export const chance = (match) => (match.relation === "variant" ? null : el("span", {}, chanceText(match)));
export const bankBadge = (bank) => (bank === "seen" ? null : el("span", { class: "badge bank" }, `bank ${bank}`));
export const distance = (value) =>
  el("span", { class: "distance", title: "0 is the same, 2 unrelated, 4 the largest" }, `distance ${value.toFixed(3)}`);

// A picture of an item; where there is none, that is said.
export function picture(tag, src, alt, attributes = {}, ...extra) {
  const image = el("img", { src, alt, decoding: "async" });
  const box = el(tag, { ...attributes, class: "picture" }, image, ...extra);
  image.addEventListener("error", () => {
    box.classList.add("none");
    image.replaceWith(el("span", {}, el("span", { class: "hidden" }, `${alt}: `), "no picture"));
  });
  return box;
}
export const film = (item) => (item.kind === "video" ? el("span", { class: "film" }, item.seconds ? `▶ ${clock(item.seconds)}` : "▶") : null);

// Keys typed into a field, or with Ctrl, Alt or Meta, are not ours.
export function isTyping(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  return Boolean(event.target.closest?.("input:not([type=range], [type=radio], [type=checkbox]), textarea, select, [contenteditable]"));
}

// Single keys that act can be switched off: they get in the way of speech input.
export const shortcuts = () => { try { return localStorage.getItem("keys") !== "off"; } catch { return true; } };
export function setShortcuts(on) {
  try { localStorage.setItem("keys", on ? "on" : "off"); } catch { /* it holds for this page only */ }
}
