/**
 * The view as elements of cytoscape.
 */

import { CARD, edgeName, footer, groupMark, heightOf, nameOn, picture } from "./card.js";

/**
 * @typedef {object} LineageNode
 * @property {number} id
 * @property {string} name
 * @property {string} type
 * @property {string} group
 * @property {string} status
 * @property {boolean} affected by an address upstream to which no data comes
 * @property {boolean} faded because another status is looked for
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
 * @property {boolean} isLarge
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
 * @typedef {{tones: import("./card.js").Tones, icons: import("./icons.js").Icons, size: import("./card.js").Size}} Look
 *
 * @param {LineageData} view
 * @param {Look} look
 * @returns {Map<string, Element>} by id
 */
export function makeElements(view, look) {
  const path = pathOf(view.path);
  const crowds = countEnds(view.edges);
  const faded = new Set(view.nodes.filter((node) => isFaded(node, path)).map(({ id }) => id));
  const elements = [
    ...view.nodes.map((node) => makeCard(node, view, faded, look)),
    ...view.edges.map((edge) => makeEdge(edge, view, path, faded, crowds)),
    ...view.nodes.flatMap((node) => makeStubs(node, faded)),
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
 * @param {Path} path
 */
function isFaded({ id, faded }, path) {
  return faded || (path.given && !path.addresses.has(id));
}

/**
 * @param {LineageNode} node
 * @param {LineageData} view
 * @param {Set<number>} faded
 * @param {Look} look
 * @returns {Element}
 */
function makeCard(node, view, faded, { tones, icons, size }) {
  const footerWidth = size.width - 2 * CARD.icon;
  const last = footer(node, footerWidth, tones, icons);
  const mark = groupMark(node.group, tones);
  const data = {
    id: cardId(node.id),
    address: node.id,
    name: node.name,
    label: nameOn(node.name, size),
    width: size.width,
    height: heightOf(size),
    lines: size.lines,
    color: tones.status[node.affected ? "affected" : node.status] ?? tones.muted,
    hops: node.hops,
    footerWidth,
    markMarkup: mark,
    footerMarkup: last,
    mark: picture(mark, 14, 14),
    footer: picture(last, footerWidth, CARD.line),
  };
  const classes = ["address"];
  if (node.id === view.centre) classes.push("centre");
  if (node.affected) classes.push("affected");
  if (faded.has(node.id)) classes.push("faded");
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
 * @param {Set<number>} faded
 * @param {Map<string, number>} crowds
 * @returns {Element}
 */
function makeEdge(edge, view, path, faded, crowds) {
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
    name: pipelines.map(({ name }) => name).join(", "),
    pipelines: edge.pipelines,
  };
  const classes = [];
  if (!pipelines.some(({ active }) => active)) classes.push("inactive");
  if (path.steps.has(id)) classes.push("path");
  else if (path.given || faded.has(edge.source) || faded.has(edge.target)) classes.push("faded");
  return { data, classes };
}

/**
 * The element for neighbours that are not shown.
 * @param {LineageNode} node
 * @param {Set<number>} faded
 * @returns {Element[]}
 */
function makeStubs(node, faded) {
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
      if (faded.has(node.id)) classes.push("faded");
      return { data, classes };
    });
}
