/**
 * The look of the drawing, in the colours of the page.
 */

import { CARD, FONT, footerTop, LABEL_OFFSET, LINE_HEIGHT, NAME_SIZE, nameMiddle } from "./card.js";

/**
 * @param {import("./card.js").Tones} tones
 * @returns {any} a stylesheet of cytoscape
 */
export function makeStyle(tones) {
  return [...nodeStyle(tones), ...edgeStyle(tones), { selector: ".faded", style: { opacity: 0.18 } }];
}

/** @param {import("./card.js").Tones} tones */
function nodeStyle(tones) {
  return [
    {
      selector: "node.address",
      style: {
        shape: "round-rectangle",
        "corner-radius": 7,
        width: "data(width)",
        height: "data(height)",
        "background-color": tones.panel,
        "border-width": 1.5,
        "border-color": "data(color)",
        label: "data(label)",
        color: tones.text,
        "font-family": FONT,
        "font-size": NAME_SIZE,
        "font-weight": 600,
        "text-halign": "right",
        "text-valign": "center",
        "text-wrap": "wrap",
        "text-max-width": 2 * CARD.most,
        "text-justification": "left",
        "line-height": LINE_HEIGHT / NAME_SIZE,
        "text-margin-x": (/** @type {any} */ card) => CARD.left - card.data("width"),
        "text-margin-y": (/** @type {any} */ card) => nameMiddle(card.data()) - card.data("height") / 2,
        "text-events": "no",
        "background-image": (/** @type {any} */ card) => [card.data("mark"), card.data("footer")],
        "background-fit": "none",
        "background-width": (/** @type {any} */ card) => ["14px", `${card.data("footerWidth")}px`],
        "background-height": ["14px", `${CARD.line}px`],
        "background-position-x": [`${CARD.icon}px`, `${CARD.icon}px`],
        "background-position-y": (/** @type {any} */ card) => ["9px", `${footerTop(card.data())}px`],
        "background-clip": "none",
        "overlay-opacity": 0,
      },
    },
    { selector: "node.affected", style: { "border-style": "dashed" } },
    { selector: "node.centre", style: { "border-width": 3.5 } },
    {
      selector: "node.chosen",
      style: { "outline-width": 2.5, "outline-color": tones.accent, "outline-offset": 3, "outline-opacity": 1 },
    },
    {
      selector: "node.stub",
      style: {
        shape: "round-rectangle",
        "corner-radius": 9,
        width: "data(width)",
        height: 18,
        "background-color": tones.page,
        "border-width": 1,
        "border-style": "dashed",
        "border-color": tones.muted,
        label: "data(label)",
        color: tones.accent,
        "font-family": FONT,
        "font-size": 11,
        "font-weight": 600,
        "text-halign": "center",
        "text-valign": "center",
        "min-zoomed-font-size": 5,
        "overlay-opacity": 0,
      },
    },
    { selector: "node.waiting", style: { visibility: "hidden" } },
    { selector: "node:active", style: { "overlay-opacity": 0 } },
  ];
}

/** @param {import("./card.js").Tones} tones */
function edgeStyle(tones) {
  return [
    {
      selector: "edge",
      style: {
        "curve-style": "bezier",
        width: 1.5,
        "line-color": tones.muted,
        "line-opacity": 0.55,
        "target-arrow-color": tones.muted,
        "target-arrow-shape": "triangle",
        "arrow-scale": 0.9,
        "source-label": "data(atSource)",
        "target-label": "data(atTarget)",
        "source-text-offset": LABEL_OFFSET,
        "target-text-offset": LABEL_OFFSET,
        color: tones.muted,
        "font-family": FONT,
        "font-size": 11,
        "min-zoomed-font-size": 8,
        "text-background-color": tones.panel,
        "text-background-opacity": 0.9,
        "text-background-padding": 2,
        "text-events": "yes",
        "overlay-opacity": 0,
      },
    },
    {
      selector: "edge.routed",
      style: {
        "curve-style": "unbundled-bezier",
        "control-point-weights": "data(weights)",
        "control-point-distances": "data(distances)",
        "edge-distances": "endpoints",
        "source-endpoint": "50% 0",
        "target-endpoint": "-50% 0",
      },
    },
    { selector: "edge.down", style: { "source-endpoint": "0 50%", "target-endpoint": "0 -50%" } },
    {
      selector: "edge.back",
      style: { "curve-style": "unbundled-bezier", "control-point-weights": [0.5], "control-point-distances": [110] },
    },
    {
      selector: "edge:loop",
      style: { "curve-style": "bezier", "control-point-step-size": 90, "loop-direction": "0deg" },
    },
    { selector: "edge.far", style: { label: "data(label)", "source-label": "", "target-label": "" } },
    { selector: "edge.unnamed", style: { label: "", "source-label": "", "target-label": "" } },
    { selector: "edge.inactive", style: { "line-style": "dashed", "line-dash-pattern": [5, 4] } },
    {
      selector: "edge.path",
      style: {
        width: 3,
        "line-color": tones.accent,
        "line-opacity": 1,
        "target-arrow-color": tones.accent,
        color: tones.text,
        "z-index": 5,
      },
    },
    {
      selector: "edge.near",
      style: { "line-color": tones.accent, "line-opacity": 0.9, "target-arrow-color": tones.accent, color: tones.text },
    },
  ];
}
