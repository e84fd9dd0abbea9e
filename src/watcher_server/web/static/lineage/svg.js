/**
 * The drawing as SVG, written from the positions of its elements: the published plugin is GPL and unmaintained.
 */

import { CARD, escapeXml, FONT, footerTop, LABEL_OFFSET, LINE_HEIGHT, NAME_SIZE, nameMiddle } from "./card.js";

/** @typedef {import("cytoscape").Position} Position */
/** @typedef {import("./card.js").Tones} Tones */

const MARGIN = 24;
const ARROW = 9;
const SAMPLES = 12;

/**
 * @param {import("cytoscape").Core} cy
 * @param {Tones} tones
 * @param {string} title
 */
export function writeSvg(cy, tones, title) {
  const { x1, y1, w, h } = cy.elements().boundingBox({ includeOverlays: false });
  const box = [x1 - MARGIN, y1 - MARGIN, w + 2 * MARGIN, h + 2 * MARGIN].map(round);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${box.join(" ")}" width="${box[2]}" height="${box[3]}" font-family="${escapeXml(FONT)}">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect x="${box[0]}" y="${box[1]}" width="${box[2]}" height="${box[3]}" fill="${tones.panel}"/>`,
    ...cy
      .edges()
      .toArray()
      .map((edge) => writeEdge(edge, tones)),
    ...cy
      .nodes(".stub")
      .toArray()
      .map((stub) => writeStub(stub, tones)),
    ...cy
      .nodes(".address")
      .toArray()
      .map((card) => writeCard(card, tones)),
    "</svg>\n",
  ];
  return parts.join("\n");
}

/** @param {number} number */
function round(number) {
  return Math.round(number * 10) / 10;
}

/** @param {import("cytoscape").SingularElementArgument} element */
function fading(element) {
  return element.hasClass("faded") ? ' opacity="0.18"' : "";
}

/**
 * @param {import("cytoscape").NodeSingular} card
 * @param {Tones} tones
 */
function writeCard(card, tones) {
  const { x, y } = card.position();
  const { color, label, name, markMarkup, footerMarkup, width, height } = card.data();
  const [left, top] = [round(x - width / 2), round(y - height / 2)];
  const stroke = `stroke="${color}" stroke-width="${card.hasClass("centre") ? 3.5 : 1.5}"`;
  const dashes = card.hasClass("affected") ? ' stroke-dasharray="4 3"' : "";
  return [
    `<g transform="translate(${left} ${top})"${fading(card)}><title>${escapeXml(name)}</title>`,
    `<rect width="${width}" height="${height}" rx="7" fill="${tones.panel}" ${stroke}${dashes}/>`,
    `<g transform="translate(${CARD.icon} 9)">${markMarkup}</g>`,
    `<text font-size="${NAME_SIZE}" font-weight="600" fill="${tones.text}">${writeName(label, nameMiddle(card.data()))}</text>`,
    `<g transform="translate(${CARD.icon} ${footerTop(card.data())})">${footerMarkup}</g></g>`,
  ].join("");
}

/**
 * The lines of a name, around their middle.
 * @param {string} label
 * @param {number} middle
 */
function writeName(label, middle) {
  const lines = label.split("\n");
  const first = middle + 4 - ((lines.length - 1) * LINE_HEIGHT) / 2;
  return lines
    .map((line, place) => `<tspan x="${CARD.left}" y="${first + place * LINE_HEIGHT}">${escapeXml(line)}</tspan>`)
    .join("");
}

/**
 * @param {import("cytoscape").NodeSingular} stub
 * @param {Tones} tones
 */
function writeStub(stub, tones) {
  const { x, y } = stub.position();
  const { width, label } = stub.data();
  return [
    `<g transform="translate(${round(x)} ${round(y)})"${fading(stub)}>`,
    `<rect x="${-width / 2}" y="-9" width="${width}" height="18" rx="9" fill="${tones.page}" stroke="${tones.muted}" stroke-dasharray="4 3"/>`,
    `<text y="4" text-anchor="middle" font-size="11" font-weight="600" fill="${tones.accent}">${escapeXml(label)}</text></g>`,
  ].join("");
}

/**
 * @param {import("cytoscape").EdgeSingular} edge
 * @param {Tones} tones
 */
function writeEdge(edge, tones) {
  const from = edge.sourceEndpoint();
  const to = edge.targetEndpoint();
  const controls = edge.controlPoints() ?? [];
  const isPath = edge.hasClass("path");
  const color = isPath ? tones.accent : tones.muted;
  const look = `stroke="${color}" stroke-width="${isPath ? 3 : 1.5}" stroke-opacity="${isPath ? 1 : 0.55}"`;
  const dashes = edge.hasClass("inactive") ? ' stroke-dasharray="5 4"' : "";
  return [
    `<g${fading(edge)}><path d="${curve(from, controls, to)}" fill="none" ${look}${dashes}/>`,
    `<polygon points="${arrow(controls.at(-1) ?? from, to)}" fill="${color}"/>`,
    edge.hasClass("unnamed")
      ? ""
      : writeLabel(edge, labelPlace(edge, from, controls, to), isPath ? tones.text : tones.muted, tones),
    "</g>",
  ].join("");
}

/**
 * Quadratic pieces that meet halfway between their control points, as cytoscape draws them.
 * @param {Position} from
 * @param {Position[]} controls
 * @param {Position} to
 */
function piecesOf(from, controls, to) {
  let start = from;
  return (controls.length ? controls : [middle(from, to)]).map((control, place) => {
    const next = controls[place + 1];
    const piece = { start, control, end: next ? middle(control, next) : to };
    start = piece.end;
    return piece;
  });
}

/**
 * @param {Position} one
 * @param {Position} other
 */
function middle(one, other) {
  return between(one, other, 0.5);
}

/**
 * @param {Position} from
 * @param {Position[]} controls
 * @param {Position} to
 */
function curve(from, controls, to) {
  const at = (/** @type {Position} */ { x, y }) => `${round(x)} ${round(y)}`;
  const pieces = piecesOf(from, controls, to).map(({ control, end }) => `Q${at(control)} ${at(end)}`);
  return `M${at(from)}${pieces.join("")}`;
}

/**
 * The place of an edge's name: at a distance from one of its ends, or in the middle.
 * @param {import("cytoscape").EdgeSingular} edge
 * @param {Position} from
 * @param {Position[]} controls
 * @param {Position} to
 */
function labelPlace(edge, from, controls, to) {
  if (!edge.hasClass("routed") || edge.hasClass("far")) return edge.midpoint();
  const points = piecesOf(from, controls, to).flatMap(sample);
  if (edge.data("atTarget")) points.reverse();
  let left = LABEL_OFFSET;
  for (const [place, point] of points.entries()) {
    const before = points[place - 1] ?? point;
    left -= Math.hypot(point.x - before.x, point.y - before.y);
    if (left <= 0) return point;
  }
  return edge.midpoint();
}

/** @param {{start: Position, control: Position, end: Position}} piece */
function sample({ start, control, end }) {
  return Array.from({ length: SAMPLES + 1 }, (_, step) => {
    const share = step / SAMPLES;
    return between(between(start, control, share), between(control, end, share), share);
  });
}

/**
 * @param {Position} one
 * @param {Position} other
 * @param {number} share
 */
function between(one, other, share) {
  return { x: one.x + (other.x - one.x) * share, y: one.y + (other.y - one.y) * share };
}

/**
 * @param {Position} before
 * @param {Position} tip
 */
function arrow(before, tip) {
  const angle = Math.atan2(tip.y - before.y, tip.x - before.x);
  const corner = (/** @type {number} */ turn) =>
    `${round(tip.x - ARROW * Math.cos(angle + turn))},${round(tip.y - ARROW * Math.sin(angle + turn))}`;
  return `${round(tip.x)},${round(tip.y)} ${corner(0.4)} ${corner(-0.4)}`;
}

/**
 * @param {import("cytoscape").EdgeSingular} edge
 * @param {Position} at
 * @param {string} color
 * @param {Tones} tones
 */
function writeLabel(edge, { x, y }, color, tones) {
  const place = `x="${round(x)}" y="${round(y + 4)}" text-anchor="middle" font-size="11"`;
  const halo = `paint-order="stroke" stroke="${tones.panel}" stroke-width="4" stroke-linejoin="round"`;
  return `<text ${place} fill="${color}" ${halo}>${escapeXml(edge.data("label"))}</text>`;
}
