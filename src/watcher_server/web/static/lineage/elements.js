/**
 * The view as elements of cytoscape.
 */

import { CARD, edgeName, footer, groupMark, picture, shortName } from "./card.js";

/**
 * @typedef {object} LineageNode
 * @property {number} id
 * @property {string} name
 * @property {string} type
 * @property {string} group
 * @property {string} status
 * @property {number | null} hops
 * @property {number} hiddenUpstream
 * @property {number} hiddenDownstream
 *
 * @typedef {object} LineageEdge
 * @property {number} source
 * @property {number} target
 * @property {number[]} pipelines
 *
 * @typedef {object} LineageData what the page says of the view
 * @property {number} centre
 * @property {string} name
 * @property {number | null} selected
 * @property {number[]} path
 * @property {LineageNode[]} nodes
 * @property {LineageEdge[]} edges
 * @property {Record<string, {name: string, active: boolean}>} pipelines
 *
 * @typedef {{data: Record<string, any>, classes: string[]}} Element
 */

const STUB_WIDTHS = { sign: 6.5, rest: 18 };

/** @param {number} address */
export const cardId = (address) => `a${address}`;

/**
 * @param {LineageData} view
 * @param {import("./card.js").Tones} tones
 * @param {import("./icons.js").Icons} icons
 * @returns {Map<string, Element>} by id
 */
export function makeElements(view, tones, icons) {
  const path = pathOf(view.path);
  const crowds = countEnds(view.edges);
  const elements = [
    ...view.nodes.map((node) => makeCard(node, view, path, tones, icons)),
    ...view.edges.map((edge) => makeEdge(edge, view, path, crowds)),
    ...view.nodes.flatMap((node) => makeStubs(node, path)),
  ];
  return new Map(elements.map((element) => [element.data.id, element]));
}

/**
 * The addresses of the path, and the steps between them.
 * @param {number[]} path
 */
function pathOf(path) {
  const steps = path.slice(1).map((address, place) => `e${path[place]}-${address}`);
  return { addresses: new Set(path), steps: new Set(steps), given: path.length > 0 };
}

/** @typedef {ReturnType<typeof pathOf>} Path */

/**
 * @param {LineageNode} node
 * @param {LineageData} view
 * @param {Path} path
 * @param {import("./card.js").Tones} tones
 * @param {import("./icons.js").Icons} icons
 * @returns {Element}
 */
function makeCard(node, view, path, tones, icons) {
  const second = footer(node.status, node.type, tones, icons);
  const mark = groupMark(node.group, tones);
  const data = {
    id: cardId(node.id),
    address: node.id,
    name: node.name,
    label: shortName(node.name),
    color: tones.status[node.status] ?? tones.muted,
    hops: node.hops,
    markMarkup: mark,
    footerMarkup: second,
    mark: picture(mark, 14, 14),
    footer: picture(second, CARD.footer, CARD.line),
  };
  const classes = ["address"];
  if (node.id === view.centre) classes.push("centre");
  if (path.given && !path.addresses.has(node.id)) classes.push("faded");
  return { data, classes };
}

/**
 * How many edges leave and reach each address.
 * @param {LineageEdge[]} edges
 */
function countEnds(edges) {
  /** @type {Map<string, number>} */
  const ends = new Map();
  for (const { source, target } of edges) {
    for (const end of [`from ${source}`, `to ${target}`]) ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  return ends;
}

/**
 * Put the name at the end where fewer edges meet, so that names do not overlap.
 * @param {LineageEdge} edge
 * @param {LineageData} view
 * @param {Path} path
 * @param {Map<string, number>} crowds
 * @returns {Element}
 */
function makeEdge(edge, view, path, crowds) {
  const id = `e${edge.source}-${edge.target}`;
  const pipelines = edge.pipelines.map((number) => view.pipelines[number]).filter((pipeline) => pipeline !== undefined);
  const [first] = pipelines;
  const more = pipelines.length > 1 ? ` +${pipelines.length - 1}` : "";
  const label = first ? edgeName(first.name) + more : "";
  const isAtSource = (crowds.get(`from ${edge.source}`) ?? 0) < (crowds.get(`to ${edge.target}`) ?? 0);
  const data = {
    id,
    source: cardId(edge.source),
    target: cardId(edge.target),
    label,
    atSource: isAtSource ? label : "",
    atTarget: isAtSource ? "" : label,
    pipelines: edge.pipelines,
  };
  const classes = [];
  if (!pipelines.some(({ active }) => active)) classes.push("inactive");
  if (path.given) classes.push(path.steps.has(id) ? "path" : "faded");
  return { data, classes };
}

/**
 * The element for neighbours that are not shown.
 * @param {LineageNode} node
 * @param {Path} path
 * @returns {Element[]}
 */
function makeStubs(node, path) {
  const sides = /** @type {const} */ ([
    ["u", node.hiddenUpstream],
    ["d", node.hiddenDownstream],
  ]);
  return sides
    .filter(([, hidden]) => hidden > 0)
    .map(([side, hidden]) => {
      const label = `+${hidden.toLocaleString("en-US")} more`;
      const width = label.length * STUB_WIDTHS.sign + STUB_WIDTHS.rest;
      const data = { id: `s${node.id}${side}`, card: cardId(node.id), address: node.id, side, label, width };
      const classes = ["stub", "waiting"];
      if (path.given) classes.push("faded");
      return { data, classes };
    });
}
