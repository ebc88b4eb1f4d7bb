// Where a match is: in words, and drawn on a picture. Along the time of videos it is drawn by `timeline.js`.

import { doubtText, svg } from "/static/lib.js";

// Why it is in doubt, or else which part matches; null for both as a whole.
export function whereText({ doubt, relation, where }) {
  if (doubt) return doubtText({ doubt });
  if (relation === "variant") return "the same template or scene, other content";
  if (where.kind === "whole") return null;
  if (where.spans.length) return "a stretch of it";
  if (where.query_box && where.reference_box) return "parts of both pictures";
  if (where.query_box) return "part of the copy";
  return where.reference_box ? "part of the original" : "nothing found in common";
}

// The part of a picture that matches; an SVG keeps its shape in its box just as the picture does.
export function boxOn(image, [left, top, right, bottom]) {
  const [w, h] = [image.naturalWidth, image.naturalHeight];
  const place = { x: left * w, y: top * h, width: (right - left) * w, height: (bottom - top) * h };
  return svg("svg", { class: "part", viewBox: `0 0 ${w} ${h}`, "aria-hidden": "true" }, svg("rect", { class: "under", ...place }), svg("rect", place));
}
