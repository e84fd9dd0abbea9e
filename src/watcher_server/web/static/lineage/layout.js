/**
 * The layout of the addresses: by dagre, from left to right. Addresses shown before keep their places where possible.
 */

import { CARD } from "./card.js";

/** @typedef {import("cytoscape").Core} Core */
/** @typedef {import("cytoscape").Position} Position */

const OPTIONS = { name: "dagre", rankDir: "LR", ranker: "tight-tree", nodeSep: 18, edgeSep: 10, rankSep: 140 };
const STUB_ASIDE = 19;
// The name under which the browser's tools and the tests measure a layout.
const MEASURE = "lineage layout";
// With more cards than this, their movement is not animated.
const MOST_MOVING = 120;
const MOVING_MILLISECONDS = 250;

/**
 * Lay everything out anew; resolves when every card is in its place.
 * @param {Core} cy
 * @param {{anchor?: string, fresh?: Set<string>}} [about] the card that must stay where it is, and those that are new
 */
export async function layOut(cy, about = {}) {
  const before = positions(cy);
  run(cy);
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

/** @param {Core} cy */
function run(cy) {
  cy.startBatch();
  const shown = cy.elements(".address, edge");
  /** @type {any} */
  const options = { ...OPTIONS, fit: false, animate: false, sort: byHeight, useDagreEdgeControlPoints: true };
  performance.mark(MEASURE);
  shown.layout(options).run();
  performance.measure(MEASURE, MEASURE);
  cy.endBatch();
  cy.batch(() => {
    for (const edge of cy.edges().toArray()) route(edge);
  });
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
 * Lead an edge from the right of one card to the left of another: in an S to a neighbour, else as dagre kept the way
 * free of cards. An edge that leads back, in a cycle, goes around the cards.
 * @param {import("cytoscape").EdgeSingular} edge
 */
function route(edge) {
  const [from, to] = [edge.source().position(), edge.target().position()];
  const width = to.x - from.x - CARD.width;
  const weights = edge.scratch("controlPointWeights");
  const isRouted = width > 0;
  const isFar = isRouted && weights?.length > 1;
  if (isFar) edge.data({ weights, distances: edge.scratch("controlPointDistances") });
  else if (isRouted) edge.data(bend(width, to.y - from.y));
  edge.toggleClass("routed", isRouted);
  edge.toggleClass("back", !isRouted && edge.isSimple());
  edge.toggleClass("far", isFar);
}

/**
 * An S that leaves and arrives level: two control points, as shares of the straight way and distances from it.
 * @param {number} width
 * @param {number} height
 */
function bend(width, height) {
  const length = Math.hypot(width, height);
  const ahead = width ** 2 / 2 / length ** 2;
  const aside = (width * height) / 2 / length;
  return { weights: [ahead, 1 - ahead], distances: [-aside, aside] };
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
 * Put each "+N more" beside its card.
 * @param {Core} cy
 */
export function placeStubs(cy) {
  cy.batch(() => {
    for (const stub of cy.nodes(".stub").toArray()) {
      const card = cy.getElementById(stub.data("card"));
      const isUpstream = stub.data("side") === "u";
      const { x, y } = card.position();
      const distance = CARD.width / 2 + 5 + stub.data("width") / 2;
      // Below the middle on a side with edges, so that it does not cover their ends.
      const isBusy = (isUpstream ? card.incomers("edge") : card.outgoers("edge")).nonempty();
      stub.position({ x: x + (isUpstream ? -distance : distance), y: y + (isBusy ? STUB_ASIDE : 0) });
    }
    cy.nodes(".stub").removeClass("waiting");
  });
}
