// Where a match is: in words, and drawn on a picture. Along the time of videos it is drawn by `timeline.js`.

import { doubtText, svg } from "/static/lib.js";
import { isPart, outlines, within } from "/static/proof.js";

// Why it is in doubt, or else which part matches; null for both as a whole.
export function whereText(match) {
  const { doubt, relation, where } = match;
  if (doubt) return doubtText({ doubt });
  if (relation === "variant") return "the same template or scene, other content";
  if (where.kind === "whole") return null;
  if (where.spans.length) return "a section of the video";
  const [query, reference] = [isPart(match, "query"), isPart(match, "reference")];
  if (query && reference) return "parts of both pictures";
  if (query || reference) return query ? "part of the copy" : "part of the original";
  return where.query_box || where.reference_box ? null : "nothing found in common";
}

// The corners of what matches on one side, in shares: the other picture's where a proof knows them, else those of the
// part that was found; null for all of it, or nearly so.
export function cornersOn(side, match) {
  const box = match.where[`${side}_box`];
  const all = outlines(match)[side] || (box && [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]]);
  return all ? within(all) : null;
}

// An SVG keeps its shape in its box just as the picture does, and the one within cuts off what lies beside the picture.
export function shapeOn(image, corners) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const points = corners.map(([x, y]) => [x * width, y * height].map((value) => Math.round(100 * value) / 100).join(",")).join(" ");
  return svg("svg", { class: "part", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("svg", { width, height }, svg("polygon", { class: "under", points }), svg("polygon", { points })));
}
