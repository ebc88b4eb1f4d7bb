// Where a match is: in words, and drawn on a picture. Along the time of videos it is drawn by `timeline.js`.

import { doubtText, svg } from "/static/lib.js";
import { outlines } from "/static/proof.js";

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

// The corners of what matches on one side, in shares: the other picture's where a proof knows them, else those of the
// part that was found; null for all of it.
export function cornersOn(side, match) {
  const box = match.where[`${side}_box`];
  return outlines(match)[side] || (box && [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]]) || null;
}

// An SVG keeps its shape in its box just as the picture does, and the one within cuts off what lies beside the picture.
export function shapeOn(image, corners) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const points = corners.map(([x, y]) => `${x * width},${y * height}`).join(" ");
  return svg("svg", { class: "part", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("svg", { width, height }, svg("polygon", { class: "under", points }), svg("polygon", { points })));
}
