/**
 * The layout of the addresses by dagre. Addresses shown before keep their places where possible.
 */

import { heightOf } from "./card.js";
import { namesEdges } from "./plan.js";

/** @typedef {import("./plan.js").Plan} Plan */
/** @typedef {import("cytoscape").Core} Core */
/** @typedef {import("cytoscape").Position} Position */

const OPTIONS = { name: "dagre", ranker: "tight-tree", nodeSep: 18, edgeSep: 10 };
// A "+N more" stands below its card, so there is room for it.
const STUB_HEIGHT = 18;
const STUB_ASIDE = 3;
// The name under which the browser's tools and the tests measure a layout.
const MEASURE = "lineage layout";
// With more cards than this, their movement is not animated.
const MOST_MOVING = 120;
const MOVING_MILLISECONDS = 250;

/**
 * Lay everything out anew; resolves when every card is in its place.
 * @param {Core} cy
 * @param {Plan} plan
 * @param {{anchor?: string, fresh?: Set<string>}} [about] the card that must stay where it is, and those that are new
 */
export async function layOut(cy, plan, about = {}) {
  const before = positions(cy);
  run(cy, plan);
  cy.batch(() => {
    for (const edge of cy.edges().toArray()) route(edge, plan);
  });
  const anchor = about.anchor && before.has(about.anchor) ? about.anchor : undefined;
  if (anchor) await settle(cy, before, anchor, about.fresh ?? new Set());
  placeStubs(cy);
}

/** @param {Core} cy */
function positions(cy) {
  /** @type {Map<string, Position>} */
  const places = new Map();
  for (const node of cy.nodes(".address").toArray()) places.set(node.id(), { ...node.position() });
  return places;
}

/**
 * @param {Core} cy
 * @param {Plan} plan
 */
function run(cy, { direction, gap, size }) {
  const room = cy.nodes(".stub").nonempty() ? STUB_HEIGHT + STUB_ASIDE : 0;
  cy.startBatch();
  cy.nodes(".address").data({ width: size.width, height: heightOf(size) });
  const shown = cy.elements(".address, edge");
  const isWide = direction === "LR";
  const gaps = { nodeSep: OPTIONS.nodeSep + (isWide ? room : 0), rankSep: gap + (isWide ? 0 : room) };
  /** @type {any} */
  const options = { ...OPTIONS, ...gaps, rankDir: direction, fit: false, animate: false, sort: byHeight };
  performance.mark(MEASURE);
  shown.layout({ ...options, useDagreEdgeControlPoints: true }).run();
  performance.measure(MEASURE, MEASURE);
  cy.endBatch();
}

/**
 * At which zoom the whole fits into its space when it is drawn by the plan.
 * @param {Core} cy
 * @param {Plan} plan
 * @param {number} padding around it
 */
export function zoomOf(cy, plan, padding) {
  run(cy, plan);
  const places = cy.nodes(".address").map((card) => card.position());
  const [xs, ys] = [places.map(({ x }) => x), places.map(({ y }) => y)];
  const width = Math.max(...xs) - Math.min(...xs) + plan.size.width;
  const height = Math.max(...ys) - Math.min(...ys) + heightOf(plan.size) + STUB_HEIGHT;
  return Math.min((cy.width() - 2 * padding) / width, (cy.height() - 2 * padding) / height);
}

/**
 * Dagre keeps the given order where it can, so an address above another stays above it.
 * @param {import("cytoscape").SingularElementArgument} one
 * @param {import("cytoscape").SingularElementArgument} other
 */
function byHeight(one, other) {
  if (one.isEdge() || other.isEdge()) return 0;
  return one.position().y - other.position().y || one.data("address") - other.data("address");
}

/**
 * Lead an edge from the end of one card to the beginning of another: in an S to a neighbour, else as dagre kept the way
 * free of cards. An edge that leads back, in a cycle, goes around the cards.
 * @param {import("cytoscape").EdgeSingular} edge
 * @param {Plan} plan
 */
function route(edge, plan) {
  const isDown = plan.direction === "TB";
  const [from, to] = [edge.source().position(), edge.target().position()];
  const across = { x: to.x - from.x, y: to.y - from.y };
  const [ahead, aside] = isDown ? [across.y - heightOf(plan.size), across.x] : [across.x - plan.size.width, across.y];
  const weights = edge.scratch("controlPointWeights");
  const isRouted = ahead > 0;
  const isFar = isRouted && weights?.length > 1;
  if (isFar) edge.data({ weights, distances: edge.scratch("controlPointDistances") });
  else if (isRouted) edge.data(bend(ahead, aside, isDown ? -1 : 1));
  edge.toggleClass("routed", isRouted);
  edge.toggleClass("down", isRouted && isDown);
  edge.toggleClass("back", !isRouted && edge.isSimple());
  edge.toggleClass("far", isFar || (isRouted && isDown));
  edge.toggleClass("unnamed", !namesEdges(plan));
}

/**
 * An S that leaves and arrives straight: two control points, as shares of the straight way and distances from it.
 * @param {number} length in the direction of the drawing
 * @param {number} aside
 * @param {1 | -1} turn
 */
function bend(length, aside, turn) {
  const way = Math.hypot(length, aside);
  const ahead = length ** 2 / 2 / way ** 2;
  const away = (turn * length * aside) / 2 / way;
  return { weights: [ahead, 1 - ahead], distances: [-away, away] };
}

/**
 * Move all cards so that the anchor stays in its place, at once or animated.
 * @param {Core} cy
 * @param {Map<string, Position>} before
 * @param {string} anchor
 * @param {Set<string>} fresh
 */
async function settle(cy, before, anchor, fresh) {
  const origin = /** @type {Position} */ (before.get(anchor));
  const { x, y } = cy.getElementById(anchor).position();
  const [right, down] = [origin.x - x, origin.y - y];
  const cards = cy.nodes(".address");
  const targets = cards.map((card) => ({ x: card.position().x + right, y: card.position().y + down }));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches || cards.length > MOST_MOVING;
  cy.batch(() => {
    for (const [place, card] of cards.toArray().entries()) {
      const from = fresh.has(card.id()) ? origin : before.get(card.id());
      card.position(/** @type {Position} */ (still || !from ? targets[place] : from));
    }
  });
  if (!still) await move(cards.toArray(), /** @type {Position[]} */ (targets));
}

/**
 * @param {import("cytoscape").NodeSingular[]} cards
 * @param {Position[]} targets
 */
async function move(cards, targets) {
  const how = { duration: MOVING_MILLISECONDS, easing: /** @type {const} */ ("ease-in-out-cubic") };
  const moves = cards.map((card, place) =>
    card
      .animation(/** @type {any} */ ({ position: targets[place], ...how }))
      .play()
      .promise("completed"),
  );
  await Promise.all(moves);
}

/**
 * Put each "+N more" below its card, at the side that it is about: there it covers nothing.
 * @param {Core} cy
 */
export function placeStubs(cy) {
  cy.batch(() => {
    for (const stub of cy.nodes(".stub").toArray()) {
      const card = cy.getElementById(stub.data("card"));
      const { x, y } = card.position();
      const { width, height } = card.data();
      const aside = (width - stub.data("width")) / 2;
      const below = (height + STUB_HEIGHT) / 2 + STUB_ASIDE;
      stub.position({ x: x + (stub.data("side") === "u" ? -aside : aside), y: y + below });
    }
    cy.nodes(".stub").removeClass("waiting");
  });
}
