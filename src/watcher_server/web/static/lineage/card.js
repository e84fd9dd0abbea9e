/**
 * An address as a card: its name above, its status and type below.
 */

import { groupIcon, placeIcon } from "./icons.js";

/**
 * @typedef {object} Tones the colours of the page
 * @property {string} text
 * @property {string} muted
 * @property {string} panel
 * @property {string} page
 * @property {string} line
 * @property {string} accent
 * @property {Record<string, string>} status by word
 */

export const CARD = { width: 216, height: 48, left: 32, icon: 10, top: 17, bottom: 26, footer: 196, line: 16 };
export const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif';
export const NAME_SIZE = 12.5;
// The distance from a card to the name of a pipeline.
export const LABEL_OFFSET = 64;
const SMALL_SIZE = 11;
const NAME_WIDTH = CARD.width - CARD.left - 10;
const TYPE_WIDTH = CARD.footer - 22;

// The end of a name gets more room, because many names share their beginning.
const HEAD_SHARE = 0.4;

const STATUSES = [
  "failing",
  "lost",
  "silent",
  "missed",
  "late",
  "overlapping",
  "stale",
  "anomalous",
  "running",
  "ok",
  "unknown",
];
const ESCAPES = /** @type {const} */ ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" });

/** @param {string} text */
export function escapeXml(text) {
  // Characters that XML does not allow are left out.
  const storable = text.replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "");
  return storable.replace(/[&<>"]/g, (sign) => ESCAPES[/** @type {keyof typeof ESCAPES} */ (sign)]);
}

/**
 * The colours of the present theme.
 * @returns {Tones}
 */
export function readTones() {
  const root = getComputedStyle(document.documentElement);
  const token = (/** @type {string} */ name) => root.getPropertyValue(name).trim();
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  /** @type {Record<string, string>} */
  const status = {};
  for (const word of STATUSES) {
    probe.className = word;
    status[word] = getComputedStyle(probe).getPropertyValue("--tone").trim();
  }
  probe.remove();
  return {
    text: token("--text"),
    muted: token("--muted"),
    panel: token("--panel"),
    page: token("--page"),
    line: token("--line"),
    accent: token("--accent"),
    status,
  };
}

const ruler = document.createElement("canvas").getContext("2d");

/**
 * @param {string} text
 * @param {string} font
 */
function widthOf(text, font) {
  if (!ruler) return text.length * 7;
  ruler.font = font;
  return ruler.measureText(text).width;
}

/**
 * The text, shortened in its middle until it fits: both ends of a name distinguish it from others.
 * @param {string} text
 * @param {string} font
 * @param {number} width in pixels
 */
function elide(text, font, width) {
  if (widthOf(text, font) <= width) return text;
  const signs = [...text];
  let kept = 0;
  let tooMany = signs.length;
  while (tooMany - kept > 1) {
    const middle = (kept + tooMany) >> 1;
    if (widthOf(elided(signs, middle), font) <= width) kept = middle;
    else tooMany = middle;
  }
  return elided(signs, kept);
}

/**
 * @param {string[]} signs
 * @param {number} kept
 */
function elided(signs, kept) {
  const head = Math.floor(kept * HEAD_SHARE);
  return `${signs.slice(0, head).join("")}…${signs.slice(signs.length - (kept - head)).join("")}`;
}

/** @param {string} name */
export function shortName(name) {
  return elide(name, `600 ${NAME_SIZE}px ${FONT}`, NAME_WIDTH);
}

/** @param {string} name of a pipeline */
export function edgeName(name) {
  return elide(name, `${SMALL_SIZE}px ${FONT}`, 120);
}

/**
 * The second line: icon and word of the status, and the type.
 * @param {string} status
 * @param {string} type
 * @param {Tones} tones
 * @param {import("./icons.js").Icons} icons
 */
export function footer(status, type, tones, icons) {
  const color = tones.status[status] ?? tones.muted;
  const small = `${SMALL_SIZE}px ${FONT}`;
  const rest = TYPE_WIDTH - widthOf(`${status} · `, `600 ${small}`);
  const icon = placeIcon(icons.get(status) ?? icons.get("unknown") ?? "", { x: 1, y: 2, size: 12, color });
  const word = `<tspan font-weight="600" fill="${color}">${status}</tspan>`;
  const kind = `<tspan fill="${tones.muted}"> · ${escapeXml(elide(type, small, rest))}</tspan>`;
  const family = escapeXml(FONT);
  return `${icon}<text x="22" y="12" xml:space="preserve" font-family="${family}" font-size="${SMALL_SIZE}">${word}${kind}</text>`;
}

/**
 * The icon of the group, on its own.
 * @param {string} group
 * @param {Tones} tones
 */
export function groupMark(group, tones) {
  return placeIcon(groupIcon(group), { x: 0, y: 0, size: 14, color: tones.muted });
}

/**
 * Markup as a picture that a canvas can draw.
 * @param {string} markup
 * @param {number} width
 * @param {number} height
 */
export function picture(markup, width, height) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${markup}</svg>`;
  return `data:image/svg+xml;utf8,${encodeURIComponent(svg)}`;
}
