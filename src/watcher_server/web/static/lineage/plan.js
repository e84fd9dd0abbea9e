/**
 * How a view is drawn so that it fits: which way it runs, how wide its cards are, and how much room lies between them.
 */

import { CARD, widthFor, widthForFooters } from "./card.js";

/**
 * @typedef {object} Plan
 * @property {"LR" | "TB"} direction from left to right, or from top to bottom
 * @property {number} gap between an address and the next
 * @property {import("./card.js").Size} size
 */

// Of more addresses only some plans are tried, and of very many one: each takes its time.
const FEW = 60;
const SOME = 120;
const WIDE = 140;
const WAYS = /** @type {const} */ ([
  ["LR", WIDE],
  ["LR", 90],
  ["TB", 64],
  ["LR", 48],
  ["TB", 44],
  ["TB", 26],
]);
// With less room between them, the names of pipelines would be covered.
const NAMED_FROM = { LR: 110, TB: 60 };

/** @param {Plan} plan */
export function namesEdges({ direction, gap }) {
  return gap >= NAMED_FROM[direction];
}

/**
 * The plans that are worth a try, the best to read first.
 * @param {string[]} names
 * @returns {Plan[]}
 */
export function plansFor(names) {
  const [one, two, three] = [1, 2, 3].map((lines) => ({ width: Math.min(widthFor(names, lines), CARD.most), lines }));
  if (!one || !two || !three) return [];
  const tall = { ...two, width: Math.min(two.width, 300) };
  if (names.length > SOME) return [{ direction: "LR", gap: WIDE, size: tall }];
  if (names.length > FEW) return WAYS.slice(1, 3).map(([direction, gap]) => ({ direction, gap, size: tall }));
  const sizes = [one, two, three];
  return sizes.flatMap((size) => WAYS.map(([direction, gap]) => ({ direction, gap, size })));
}

/**
 * The plan of an export: every name and type whole, and every pipeline named.
 * @param {{name: string, status: string, type: string, affected: boolean}[]} nodes
 * @returns {Plan}
 */
export function wholePlan(nodes) {
  const forNames = widthFor(
    nodes.map(({ name }) => name),
    1,
  );
  return { direction: "LR", gap: WIDE, size: { width: Math.max(forNames, widthForFooters(nodes)), lines: 1 } };
}
