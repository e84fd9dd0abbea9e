/**
 * Moving from one address to the next with the arrow keys.
 */

const DIRECTIONS = /** @type {const} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
});
// An address straight ahead counts as nearer than one to the side.
const SIDEWAYS_COST = 2.5;

/**
 * The next address in the direction of the key; undefined when there is none, or for any other key.
 * @param {import("cytoscape").Core} cy
 * @param {number} from
 * @param {string} key
 * @returns {number | undefined}
 */
export function nextAddress(cy, from, key) {
  const direction = DIRECTIONS[/** @type {keyof typeof DIRECTIONS} */ (key)];
  const start = cy.getElementById(`a${from}`);
  if (!direction || start.empty()) return undefined;
  const origin = start.position();
  let best;
  let least = Number.POSITIVE_INFINITY;
  for (const card of cy.nodes(".address").toArray()) {
    const cost = distance(origin, card.position(), direction);
    if (cost < least) [best, least] = [card, cost];
  }
  return best?.data("address");
}

/**
 * @param {import("cytoscape").Position} from
 * @param {import("cytoscape").Position} to
 * @param {readonly [number, number]} direction
 */
function distance(from, to, [right, down]) {
  const [x, y] = [to.x - from.x, to.y - from.y];
  const ahead = x * right + y * down;
  return ahead > 1 ? ahead + SIDEWAYS_COST * Math.abs(x * down - y * right) : Number.POSITIVE_INFINITY;
}
