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

export const CARD = { left: 32, icon: 10, top: 17, bottom: 26, line: 16, right: 10, most: 460, usual: 216 };
export const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif';
export const NAME_SIZE = 12.5;
export const LINE_HEIGHT = 15;
// The distance from a card to the name of a pipeline.
export const LABEL_OFFSET = 64;
const SMALL_SIZE = 11;
// A card with less has no room for its status.
const LEAST_ROOM = 104;
const NAME_FONT = `600 ${NAME_SIZE}px ${FONT}`;

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
  "affected",
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

/**
 * @typedef {object} Size of the cards of a drawing
 * @property {number} width
 * @property {number} lines of a name
 */

/** @param {Size} size */
export function heightOf({ lines }) {
  return CARD.bottom + CARD.line + 6 + (lines - 1) * LINE_HEIGHT;
}

/**
 * Where the last line of a card begins, from its top.
 * @param {{lines: number}} size
 */
export function footerTop({ lines }) {
  return CARD.bottom + (lines - 1) * LINE_HEIGHT;
}

/**
 * Where the middle of its name is, from its top: of one that needs one line, over both.
 * @param {{lines: number}} size
 */
export function nameMiddle({ lines }) {
  return CARD.top + ((lines - 1) * LINE_HEIGHT) / 2;
}

/**
 * The places at which a name may go on in a second line: behind a dot, a slash, or what else joins words.
 * @param {string} name
 */
function joints(name) {
  return [...name.matchAll(/[./\\:_ -]+(?=[^./\\:_ -])/g)].map((found) => found.index + found[0].length);
}

/**
 * The lines of a name, none longer than the room that there is where its words allow it.
 * @param {string} name
 * @param {number} room
 */
function wrap(name, room) {
  const lines = [];
  let [start, last] = [0, 0];
  for (const end of [...joints(name), name.length]) {
    if (last > start && widthOf(name.slice(start, end), NAME_FONT) > room) {
      lines.push(name.slice(start, last));
      start = last;
    }
    last = end;
  }
  return [...lines, name.slice(start)];
}

/**
 * The least room in which a name stands whole in that many lines.
 * @param {string} name
 * @param {number} most
 */
function roomFor(name, most) {
  let enough = Math.ceil(widthOf(name, NAME_FONT));
  let tooLittle = Math.min(LEAST_ROOM, enough) - 1;
  while (most > 1 && enough - tooLittle > 2) {
    const middle = (enough + tooLittle) >> 1;
    const lines = wrap(name, middle);
    const fits = lines.length <= most && lines.every((line) => widthOf(line, NAME_FONT) <= middle);
    if (fits) enough = middle;
    else tooLittle = middle;
  }
  return enough;
}

/**
 * How wide the cards have to be for these names to stand on them whole.
 * @param {string[]} names
 * @param {number} lines
 */
export function widthFor(names, lines) {
  const room = Math.max(LEAST_ROOM, ...names.map((name) => roomFor(name, lines)));
  return room + CARD.left + CARD.right;
}

/**
 * The name as it stands on a card: whole where it fits, in the lines that there are.
 * @param {string} name
 * @param {Size} size
 */
export function nameOn(name, { width, lines }) {
  const room = width - CARD.left - CARD.right;
  const wrapped = lines === 1 ? [name] : wrap(name, room);
  const kept = wrapped.slice(0, lines - 1);
  const rest = wrapped.slice(lines - 1).join("");
  return [...kept, rest]
    .filter((line) => line)
    .map((line) => elide(line, NAME_FONT, room))
    .join("\n");
}

/** @param {string} name of a pipeline */
export function edgeName(name) {
  return elide(name, `${SMALL_SIZE}px ${FONT}`, 120);
}

/** @param {{status: string, affected: boolean}} node */
function saidOf({ status, affected }) {
  return affected ? `${status}, affected` : status;
}

/**
 * How wide the cards have to be for their last lines to stand on them whole.
 * @param {{status: string, type: string, affected: boolean}[]} nodes
 */
export function widthForFooters(nodes) {
  const small = `${SMALL_SIZE}px ${FONT}`;
  const lines = nodes.map((node) => widthOf(`${saidOf(node)} · `, `600 ${small}`) + widthOf(node.type, small));
  return Math.ceil(Math.max(0, ...lines)) + 22 + 2 * CARD.icon;
}

/**
 * The last line: icon and word of the status, whether what lies above it affects it, and the type.
 * @param {{status: string, type: string, affected: boolean}} node
 * @param {number} width
 * @param {Tones} tones
 * @param {import("./icons.js").Icons} icons
 */
export function footer({ status, type, affected }, width, tones, icons) {
  const tone = affected ? "affected" : status;
  const said = saidOf({ status, affected });
  const color = tones.status[tone] ?? tones.muted;
  const small = `${SMALL_SIZE}px ${FONT}`;
  const rest = width - 22 - widthOf(`${said} · `, `600 ${small}`);
  const icon = placeIcon(icons.get(tone) ?? icons.get("unknown") ?? "", { x: 1, y: 2, size: 12, color });
  const word = `<tspan font-weight="600" fill="${color}">${said}</tspan>`;
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
