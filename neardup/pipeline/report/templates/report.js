// Draws the groups of the report. All text goes in as text (textContent), never as HTML: file names are not trusted.
(() => {
  const PAGE = 30; // groups drawn at a time
  const FOLD = 12; // copies shown before "show more"
  const WORDS = [[0.999, "practically certain"], [0.99, "almost certain"], [0.9, "very likely"], [0.7, "likely"], [0.4, "perhaps"], [0, "doubtful"]];
  const COPY = { query: "Copy", reference: "Original", said: { query: "the copy", reference: "the original" } };
  const VARIANT = { query: "This one", reference: "Other one", said: { query: "this one", reference: "the other one" } };
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const state = { text: "", decision: "all", kind: "all", sort: "size", shown: [], drawn: 0, current: -1, returnTo: null, view: null };

  // --- Words and numbers
  const percent = (p) => (p > 0.9999 ? "> 99.99 %" : `${(p * 100).toFixed(p >= 0.99 ? 2 : p >= 0.1 ? 0 : 1)} %`);
  const likely = (p) => WORDS.find(([from]) => p >= from)[1];
  const round = (value) => Math.round(100 * value) / 100;
  const isExact = (match) => match.exact !== "";
  const badge = (match) => (isExact(match) ? "exact" : match.decision);
  const badgeText = (match) => ({ exact: match.exact === "bytes" ? "Identical file" : "Identical pixels", duplicate: "Duplicate", unsure: "Unsure", distinct: match.relation === "variant" ? "Variant" : "Distinct" })[badge(match)];
  const plural = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  function size(bytes) {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (bytes >= 1000 && unit < 4) { bytes /= 1000; unit += 1; }
    return `${bytes.toFixed(unit === 0 || bytes >= 100 ? 0 : 1)} ${units[unit]}`;
  }
  function clock(seconds, fine = false) {
    const tenths = Math.round(seconds * 10);
    const s = fine ? (tenths % 600) / 10 : Math.round(seconds) % 60;
    const minutes = Math.floor((fine ? tenths / 10 : Math.round(seconds)) / 60);
    const tail = (fine ? s.toFixed(1) : String(s)).padStart(fine ? 4 : 2, "0");
    const h = Math.floor(minutes / 60);
    return h ? `${h}:${String(minutes % 60).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
  }
  const date = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const safeDate = (seconds) => { try { return date(seconds); } catch { return "no date"; } };
  // A path below a scanned folder is shown from that folder's own name on.
  const above = data.roots.map((root) => root.replace(/\/+$/, "")).map((root) => [`${root}/`, root.lastIndexOf("/") + 1]);
  function shorten(path) {
    const [, cut] = above.find(([root]) => path.startsWith(root)) || ["", 0];
    return path.slice(cut);
  }
  const split = (path) => { const at = path.lastIndexOf("/") + 1; return [path.slice(at), path.slice(0, at)]; };

  const breakable = (path) => path.split("/").flatMap((part, n) => (n ? ["/", el("wbr"), part] : [part]));

  // --- Elements
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }
  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  function picture(tag, number, alt, attributes = {}, ...extra) {
    const inside = number < 0
      ? [el("span", { class: "hidden" }, alt), el("span", {}, "no preview")]
      : [el("img", { src: `data:image/jpeg;base64,${data.thumbnails[number]}`, alt, decoding: "async" })];
    return el(tag, { ...attributes, class: number < 0 ? "picture none" : "picture" }, ...inside, ...extra);
  }
  // Where in the picture the match is: the other one's outline where a proof knows it, else the part that was found.
  // An SVG keeps its shape in its box just as the picture does.
  function part(match, file, side) {
    const box = match.where.kind === "whole" ? null : match.where[`${side}_box`];
    const all = outlines(match)[side] || (box && [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]]);
    const corners = all && within(all);
    if (!corners) return null;
    const points = corners.map(([x, y]) => `${round(x * file.width)},${round(y * file.height)}`).join(" ");
    const inside = svg("svg", { width: file.width, height: file.height }, svg("polygon", { class: "under", points }), svg("polygon", { points })); // clips
    return svg("svg", { class: "part", viewBox: `0 0 ${file.width} ${file.height}`, "aria-hidden": "true" }, inside);
  }
  const doubtText = (match) => ({ "other-sound": "same pictures, other sound", "no-sound": "same pictures, one is silent", "dark-ground": "pale on transparent ground", "stretched": "measurements or labels, not quite the same", "unproved": "no proof in time" })[match.doubt] || null;
  function partText(match, said) {
    const { kind, query_box, reference_box, spans } = match.where;
    if (kind === "whole") return null;
    const [query, reference] = [isPart(match, "query"), isPart(match, "reference")];
    if (query && reference) return "parts of both pictures";
    if (query || reference) return `part of ${query ? said.query : said.reference}`;
    if (spans.length) return "a section of the video";
    return query_box || reference_box ? null : "nothing found in common";
  }
  // Beside `unsure` no words that sound like a verdict, but what is missing for one.
  function chanceText(match) {
    if (match.decision !== "unsure") return `${percent(match.probability)}, ${likely(match.probability)}`;
    return match.proof || doubtText(match) ? percent(match.probability) : `${percent(match.probability)}, no proof`;
  }
  const film = (file) => (file.kind === "video" ? el("span", { class: "film" }, `▶ ${clock(file.seconds)}`) : null);

  function names(file, heading) {
    const [name, folder] = split(file.shown);
    const link = el("a", { href: file.href, title: `Open ${file.path}`, rel: "noreferrer" }, el("bdi", {}, name));
    return [el(heading, { class: "name" }, link), folder ? el("p", { class: "folder" }, el("bdi", {}, ...breakable(folder))) : null];
  }
  // Another shape tells of a border or a screenshot, which is no better picture, and neither is a collage; plan.sh goes by the same rule.
  function isLarger(file, original) {
    const difference = Math.abs(file.width * original.height - original.width * file.height);
    return file.width > original.width && difference <= 0.01 * original.width * file.height;
  }
  function facts(file, original) {
    const pixels = `${file.width} × ${file.height}`;
    const parts = [original && isLarger(file, original) ? el("span", { class: "better", title: "The same shape, more pixels than the original" }, `${pixels} ↑`) : el("span", { class: "one" }, pixels)];
    return el("p", { class: "facts" }, ...parts, ` · ${file.format}${file.extras ? ` · ${file.extras}` : ""}`, el("br"),
      el("span", { class: "one" }, size(file.bytes)), " · ", el("span", { class: "one" }, safeDate(file.modified)));
  }
  // What belongs together with a file, and what the plan says of it.
  function belongs(file) {
    if (!file.companions.length) return null;
    const shown = file.companions.slice(0, 4);
    const rest = file.companions.length - shown.length;
    return el("p", { class: "facts" }, "together with ", ...shown.flatMap((name, i) => [i ? ", " : "", el("bdi", {}, name)]), rest ? ` and ${rest} more` : "");
  }
  function planned(file) {
    if (!file.goes && !file.why) return null;
    return el("p", { class: "planned" }, el("b", {}, file.goes ? "Could go" : "Stays"), file.goes ? " (plan.sh lists it)" : `: ${file.why}`);
  }
  function verdict(match, names = COPY) {
    const chance = (isExact(match) && match.decision === "duplicate") || match.relation === "variant" ? null
      : el("span", { class: "likely" }, chanceText(match));
    return el("p", { class: "verdict" },
      el("span", { class: `badge ${badge(match)}` }, badgeText(match)), chance,
      el("span", { class: "distance", title: "0 is the same, 2 unrelated, 4 the largest" }, `distance ${match.distance.toFixed(3)}`),
      match.identical_to ? el("span", { class: "distance" }, "identical to ", el("bdi", {}, split(match.identical_to)[0])) : null,
      partText(match, names.said) ? el("span", { class: "distance" }, partText(match, names.said)) : null,
      proofWords(match) ? el("span", { class: "distance" }, proofWords(match)) : null,
      doubtText(match) ? el("span", { class: "distance" }, doubtText(match)) : null);
  }

  // --- Video: where the one is in the other
  function timeline(file, original, match) {
    const scale = 1000 / Math.max(file.seconds, original.seconds, 0.1);
    const still = (f) => f.kind === "image";
    const edges = (f, from, to) => (still(f) ? [0, 12] : [from * scale, Math.max(to * scale, from * scale + 4)]);
    const drawing = svg("svg", { viewBox: "0 0 1000 64", preserveAspectRatio: "none", role: "img", "aria-label": sentence(file, original, match) });
    const track = (f, y) => svg("rect", { class: "track", x: 0, y, width: still(f) ? 12 : Math.max(4, f.seconds * scale), height: 14, rx: 2 });
    drawing.append(track(file, 1), track(original, 49));
    match.where.spans.forEach(([a, b, c, d, speed], number) => {
      const colour = `c${number % 5}`;
      const [top, low] = [edges(file, a, b), edges(original, c, d)];
      drawing.append(
        svg("polygon", { class: `link ${colour}`, points: `${top[0]},15 ${top[1]},15 ${low[speed < 0 ? 0 : 1]},49 ${low[speed < 0 ? 1 : 0]},49` }),
        svg("rect", { class: `band ${colour}`, x: top[0], y: 1, width: top[1] - top[0], height: 14 }),
        svg("rect", { class: `band ${colour}`, x: low[0], y: 49, width: low[1] - low[0], height: 14 }));
    });
    return el("div", { class: "timeline" },
      el("span", {}, "this copy"), drawing, el("span", {}, still(file) ? "still" : clock(file.seconds)),
      el("span", { class: "low" }, "original"), el("span", { class: "low" }, still(original) ? "still" : clock(original.seconds)));
  }
  const played = (speed) => `${speed < 0 ? ", backwards" : ""}${Math.abs(speed) === 1 ? "" : `, at ${Math.abs(speed)} × its speed`}`;
  function spanText(file, original, [a, b, c, d, speed]) {
    const at = (f, from, to) => (to - from < 0.05 ? `at ${clock(from, true)}` : `${clock(from, true)} – ${clock(to, true)}`);
    if (file.kind === "image") return `this picture is in the original ${at(original, c, d)}`;
    if (original.kind === "image") return `the original picture is in this video ${at(file, a, b)}`;
    return `${at(file, a, b)} here is ${at(original, c, d)} of the original${played(speed)}`;
  }
  const sentence = (file, original, match) => match.where.spans.map((span) => spanText(file, original, span)).join("; ");

  function timing(file, original, match) {
    const lines = match.where.spans.slice(0, 6).map((span, number) => el("li", {},
      el("span", { class: "dot", "aria-hidden": "true" }, svg("svg", { viewBox: "0 0 9 9", width: 9, height: 9 }, svg("rect", { class: `c${number % 5}`, width: 9, height: 9, rx: 2 }))),
      spanText(file, original, span)));
    const rest = match.where.spans.length - lines.length + match.more_spans;
    if (rest > 0) lines.push(el("li", {}, `and ${plural(rest, "stretch", "stretches")} more, in duplicates.csv`));
    const pairs = match.pairs.filter((pair) => pair.thumbnail >= 0 || pair.reference_thumbnail >= 0).map((pair) => el("li", { class: "pair" },
      picture("div", pair.thumbnail, `This copy at ${clock(pair.seconds, true)}`),
      picture("div", pair.reference_thumbnail, `The original at ${clock(pair.reference_seconds, true)}`),
      pairLabel(file, original, pair)));
    return el("div", { class: "timing" }, timeline(file, original, match), el("ul", { class: "spans" }, ...lines),
      pairs.length ? el("ul", { class: "pairs", "aria-label": "The same moments in this copy and in the original" }, ...pairs) : null);
  }
  function pairLabel(file, original, pair) {
    if (file.kind === "image") return clock(pair.reference_seconds, true);
    if (original.kind === "image") return clock(pair.seconds, true);
    return `${clock(pair.seconds, true)} = ${clock(pair.reference_seconds, true)}`;
  }

  // --- Groups
  function member(match, original) {
    const file = data.files[match.file];
    const alt = `Compare ${badgeText(match)}: ${split(file.path)[0]}`;
    const head = el("div", {},
      picture("button", file.thumbnail, alt, { type: "button", "data-compare": true, title: "Compare with the original (Enter)", onclick: () => compare(match, original, COPY) }, ...[part(match, file, "query"), film(file)].filter(Boolean)),
      verdict(match), ...names(file, "h4"), facts(file, match.where.kind === "whole" ? original : null), belongs(file), planned(file));
    if (!match.where.spans.length) return el("li", { class: "member" }, head);
    return el("li", { class: "member timed" }, head, timing(file, original, match));
  }
  function draw({ group, number, matches }, position) {
    const original = data.files[group.original];
    const hidden = group.matches.length - matches.length;
    const list = el("ul", { class: "members", "aria-label": "Copies" }, ...matches.slice(0, FOLD).map((match) => member(match, original)));
    if (matches.length > FOLD) list.append(el("li", { class: "more" }, more(matches.slice(FOLD), (match) => member(match, original), ["copy", "copies"])));
    const left = el("div", { class: "original" },
      el("p", { class: "label" }, "Original", el("span", {}, plural(group.matches.length, "copy", "copies"))),
      picture("div", original.thumbnail, `Original: ${split(original.path)[0]}`, {}, ...[film(original)].filter(Boolean)),
      ...names(original, "h3"), facts(original, null), belongs(original), planned(original),
      group.bytes ? el("p", { class: "facts" }, `${size(group.bytes)} used by duplicates`) : null,
      hidden ? el("p", { class: "facts" }, `${plural(hidden, "copy does", "copies do")} not fit the filter`) : null);
    return el("article", { class: "group", id: `group-${number}`, tabindex: "-1", "data-position": position, "aria-label": `Group ${number}, ${plural(matches.length, "copy", "copies")} of ${split(original.path)[0]}` }, left, list);
  }

  // --- Stacks: one template or scene, each file with content of its own
  function drawStack({ stack, number, files }, position) {
    const list = el("ul", { class: "members", "aria-label": "Variants" }, ...files.slice(0, FOLD).map((file) => variant(stack, file)));
    if (files.length > FOLD) list.append(el("li", { class: "more" }, more(files.slice(FOLD), (file) => variant(stack, file), ["variant", "variants"])));
    return el("article", { class: "group stack", id: `stack-${number}`, tabindex: "-1", "data-position": position, "aria-label": `Stack ${number}, ${plural(stack.files.length, "variant", "variants")}` },
      el("p", { class: "label" }, plural(stack.files.length, "variant", "variants")), list);
  }
  function variant(stack, number) {
    const file = data.files[number];
    const own = stack.matches.find((match) => match.file === number);
    const match = own || stack.matches.find((one) => one.reference === number);
    const open = match && { type: "button", "data-compare": true, title: "Compare two variants (Enter)", onclick: () => compare(match, data.files[match.reference], VARIANT) };
    return el("li", { class: "member" },
      picture(match ? "button" : "div", file.thumbnail, `Compare variants: ${split(file.path)[0]}`, open || {}, ...[film(file)].filter(Boolean)),
      own ? el("p", { class: "verdict" }, el("span", { class: "distance" }, "variant of ", el("bdi", {}, split(data.files[own.reference].path)[0]), own.proof ? `: ${groundWords(own.proof)}` : "")) : null,
      ...names(file, "h4"), facts(file, null), belongs(file), planned(file));
  }
  function more(rest, make, [one, many]) {
    return el("button", { type: "button", onclick: (event) => {
      const made = rest.map(make);
      event.currentTarget.parentNode.replaceWith(...made);
      made[0].querySelector("button").focus();
    } }, `Show ${plural(rest.length, `more ${one}`, `more ${many}`)}`);
  }

  // --- Filter and sort
  for (const file of data.files) {
    file.shown = shorten(file.path);
    file.search = file.shown.toLocaleLowerCase();
  }
  const groups = data.groups.map((group, index) => {
    const whole = group.matches.filter((match) => match.where.kind === "whole" && match.decision === "duplicate");
    group.bytes = whole.reduce((sum, match) => sum + data.files[match.file].bytes, 0);
    group.sure = Math.max(...group.matches.map((match) => match.probability));
    group.doubt = Math.min(...group.matches.map((match) => match.probability));
    return { group, number: index + 1 };
  });
  const stacks = data.stacks.map((stack, index) => ({ stack, number: index + 1, files: stack.files }));
  const ORDER = {
    size: (a, b) => b.matches.length - a.matches.length,
    bytes: (a, b) => b.group.bytes - a.group.bytes,
    doubt: (a, b) => a.group.doubt - b.group.doubt,
    sure: (a, b) => b.group.sure - a.group.sure,
    path: (a, b) => (data.files[a.group.original].search < data.files[b.group.original].search ? -1 : 1),
    new: (a, b) => data.files[b.group.original].modified - data.files[a.group.original].modified,
  };
  function fits(match, original, originalNamed) {
    const file = data.files[match.file];
    const { decision, kind, text } = state;
    const kinds = { all: true, image: file.kind === "image" && original.kind === "image", video: file.kind === "video" && original.kind === "video", mixed: file.kind !== original.kind, part: match.where.kind !== "whole" };
    const decisions = { all: true, variant: false, exact: isExact(match) || match.identical_to !== "", duplicate: match.decision === "duplicate", unsure: match.decision === "unsure" };
    return kinds[kind] && decisions[decision] && (originalNamed || file.search.includes(text));
  }
  function refresh() {
    state.shown = groups.map(({ group, number }) => {
      const original = data.files[group.original];
      const named = original.search.includes(state.text);
      return { group, number, matches: group.matches.filter((match) => fits(match, original, named)) };
    }).filter(({ matches }) => matches.length).sort(ORDER[state.sort]);
    const found = state.shown.length;
    const piles = stacks.filter(fitsStack);
    state.shown.push(...piles);
    state.drawn = 0;
    state.current = -1;
    byId("groups").replaceChildren();
    byId("nothing").hidden = state.shown.length > 0;
    const counted = (shown, all, one, many) => (shown === all ? plural(all, one, many) : `${shown.toLocaleString("en")} of ${plural(all, one, many)}`);
    const counts = [[found, groups.length, "group", "groups"], [piles.length, stacks.length, "stack", "stacks"]].filter(([shown]) => shown);
    byId("shown").textContent = counts.map((one) => counted(...one)).join(", ") || "nothing found";
    drawMore();
  }
  function fitsStack({ stack }) {
    const { decision, kind, text } = state;
    const files = stack.files.map((number) => data.files[number]);
    return ["all", "variant"].includes(decision) && (kind === "all" || files.some((file) => file.kind === kind)) && files.some((file) => file.search.includes(text));
  }
  function drawMore(upTo = state.drawn + PAGE) {
    const next = state.shown.slice(state.drawn, upTo).flatMap((entry, i) => {
      if (entry.group) return [draw(entry, state.drawn + i)];
      return [...(entry === state.shown.find((one) => one.stack) ? [byId("stacks-head").content.cloneNode(true)] : []), drawStack(entry, state.drawn + i)];
    });
    state.drawn = Math.min(upTo, state.shown.length);
    byId("groups").append(...next);
  }

  // --- Compare
  // `names` is COPY or VARIANT.
  function compare(match, reference, names) {
    const file = data.files[match.file];
    const dialog = byId("compare");
    const row = (name, a, b) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, a), el("td", {}, b));
    const side = (f, which) => {
      const moment = match.proved[which === "query" ? 0 : 1] ?? -1; // of a video, the frame that was laid over the other
      return el("div", {}, el("p", { class: "label" }, names[which]), picture("div", moment < 0 ? f.thumbnail : moment, `${names[which]}: ${split(f.path)[0]}`, {}, ...[part(match, f, which), film(f)].filter(Boolean)));
    };
    const length = (f) => (f.kind === "video" ? clock(f.seconds, true) : "still");
    const holds = (f) => f.extras || "the picture alone";
    const plan = (f) => (f.goes ? "could go" : f.why ? `stays: ${f.why}` : "–");
    const either = (what) => Boolean(what(reference) || what(file));
    const view = proofView(match, file, reference, names);
    state.returnTo = document.activeElement;
    state.view = view;
    dialog.replaceChildren(
      el("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
      el("h2", { id: "compare-title" }, names === COPY ? "Original and copy" : "Two variants"),
      el("div", { class: view ? "sides proved" : "sides" }, side(reference, "reference"), side(file, "query"), ...(view ? [view.node] : [])),
      verdict(match, names),
      ...(match.proof ? [el("p", { class: "proof-said" }, proofSentences(match, names.said, reference.width / reference.height).join(" "))] : []),
      match.where.spans.length ? el("p", { class: "facts" }, sentence(file, reference, match)) : el("span", { hidden: true }),
      el("div", { class: "scroll" }, el("table", {}, el("tbody", {},
        row("File", el("bdi", {}, ...breakable(reference.path)), el("bdi", {}, ...breakable(file.path))),
        row("Pixels", `${reference.width} × ${reference.height}`, `${file.width} × ${file.height}`),
        row("Size", size(reference.bytes), size(file.bytes)),
        row("Format", reference.format, file.format),
        ...(either((f) => f.kind === "video") ? [row("Length", length(reference), length(file))] : []),
        ...(either((f) => f.extras) ? [row("Holds", holds(reference), holds(file))] : []),
        ...(either((f) => f.companions.length) ? [row("Together with", reference.companions.join(", ") || "–", file.companions.join(", ") || "–")] : []),
        ...(either((f) => f.goes || f.why) ? [row("Plan", plan(reference), plan(file))] : []),
        row("Modified", safeDate(reference.modified), safeDate(file.modified))))));
    dialog.showModal();
  }
  function proofView(match, file, reference, names) {
    const [query, low] = match.proved;
    if (!match.proved.length || query < 0 || low < 0) return null;
    const shown = (number, which, f, seconds) => ({ src: `data:image/jpeg;base64,${data.thumbnails[number]}`, alt: `${names[which]}, laid over`, at: f.kind === "video" ? clock(seconds, true) : "" });
    return new ProofView(match, {
      query: shown(query, "query", file, match.proof.query_second),
      reference: shown(low, "reference", reference, match.proof.reference_second),
    }, names.said);
  }

  // --- Keyboard
  function toGroup(step) {
    if (!state.shown.length) return;
    const focused = document.activeElement.closest?.(".group");
    if (focused) state.current = Number(focused.dataset.position);
    const next = Math.min(Math.max(state.current + step, 0), state.shown.length - 1);
    while (state.drawn <= next) drawMore();
    state.current = next;
    const node = byId("groups").querySelectorAll(".group")[next];
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "start" });
  }
  function toMember(step) {
    const group = document.activeElement.closest?.(".group");
    if (!group) return false;
    const buttons = [...group.querySelectorAll("[data-compare]")];
    const at = buttons.findIndex((button) => button.closest(".member").contains(document.activeElement));
    buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)].focus();
    return true;
  }
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) {
      if (event.key === "b" && byId("compare").open) state.view?.blink();
      return;
    }
    if (event.target.id === "text") {
      if (event.key === "Enter") { event.preventDefault(); onFilter(); toGroup(0); }
      if (event.key === "Escape") { event.target.value = ""; onFilter(); event.target.blur(); }
      return;
    }
    if (event.target.matches("select, input")) return;
    const inGroup = document.activeElement.closest?.(".group");
    const actions = {
      j: () => toGroup(1), k: () => toGroup(-1),
      ArrowDown: inGroup && (() => toGroup(1)), ArrowUp: inGroup && (() => toGroup(-1)),
      ArrowRight: inGroup && (() => toMember(1)), ArrowLeft: inGroup && (() => toMember(-1)),
      Enter: document.activeElement === inGroup && inGroup && (() => inGroup.querySelector("[data-compare]").click()),
      "/": byId("text") && (() => { byId("text").focus(); byId("text").select(); }),
      "?": showHelp, t: toggleTheme,
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  }

  function showHelp() {
    byId("help").showModal();
    byId("help-title").focus();  // not the button at its end, which would be scrolled to
  }

  // --- Light and dark
  function store(value) { try { localStorage.setItem("neardup-theme", value); } catch { /* a page from a file may have no storage */ } }
  function stored() { try { return localStorage.getItem("neardup-theme"); } catch { return null; } }
  function toggleTheme() {
    const root = document.documentElement;
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    store(root.dataset.theme);
  }
  if (["light", "dark"].includes(stored())) document.documentElement.dataset.theme = stored();
  byId("theme").addEventListener("click", toggleTheme);
  byId("help-open").addEventListener("click", showHelp);
  byId("created").textContent = `${new Date(byId("created").dataset.seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}, `;
  byId("compare").addEventListener("close", () => { state.view?.stop(); state.returnTo?.focus(); });
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("keydown", onKey);
  if (!groups.length && !stacks.length) return;

  // --- Start
  let waiting = 0;
  let filtered = "";
  function onFilter() {
    clearTimeout(waiting);
    const decision = document.querySelector("input[name=decision]:checked").value;
    const chosen = { text: byId("text").value.trim().toLocaleLowerCase(), decision, kind: byId("kind").value, sort: byId("sort").value };
    if (filtered === JSON.stringify(chosen)) return;
    filtered = JSON.stringify(chosen);
    Object.assign(state, chosen);
    refresh();
  }
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  // The search field changes when it loses the focus: to draw anew then would take away what is being clicked.
  document.querySelector(".tools").addEventListener("change", (event) => { if (event.target.id !== "text") onFilter(); });
  byId("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(onFilter, 120); });
  byId("reset").addEventListener("click", () => { document.querySelector(".tools").reset(); onFilter(); });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && state.drawn < state.shown.length) drawMore();
  }, { rootMargin: "1500px" }).observe(byId("more"));
  window.addEventListener("beforeprint", () => drawMore(Math.min(state.shown.length, 500)));
  onFilter(); // a browser may have kept the form's values over a reload
})();
