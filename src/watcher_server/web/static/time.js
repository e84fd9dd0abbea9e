/**
 * Times in the viewer's zone. The server writes them in UTC, and UTC stays where one hovers.
 */

const clock = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});

const UNITS = /** @type {const} */ ([
  ["d", 86400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
]);

/**
 * A moment as `2026-11-22 21:04` in the viewer's zone.
 * @param {Date} moment
 */
export function localTime(moment) {
  /** @type {Record<string, string>} */
  const part = {};
  for (const { type, value } of clock.formatToParts(moment)) part[type] = value;
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}`;
}

/** The viewer's zone, in which the page's times are. */
export function zoneName() {
  return clock.resolvedOptions().timeZone;
}

/**
 * Seconds in their two largest units, as the server writes them: `3h 20m`.
 * @param {number} seconds
 */
export function durationText(seconds) {
  const rest = Math.max(0, Math.round(seconds));
  const place = UNITS.findIndex(([, size]) => rest >= size);
  const [larger, smaller] = UNITS.slice(place);
  if (place < 0 || !larger) return "0s";
  const count = smaller ? Math.floor((rest % larger[1]) / smaller[1]) : 0;
  return `${Math.floor(rest / larger[1])}${larger[0]}${smaller && count ? ` ${count}${smaller[0]}` : ""}`;
}

/** @param {Date} moment */
function distance(moment) {
  const seconds = (Date.now() - moment.getTime()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  const text = durationText(Math.abs(seconds));
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/**
 * @param {HTMLTimeElement} element
 * @param {Date} moment
 */
function written(element, moment) {
  if (element.classList.contains("ago")) return distance(moment);
  const local = localTime(moment);
  return element.classList.contains("clock") ? local.slice(-5) : local;
}

/**
 * Write every time below an element for its viewer.
 * @param {ParentNode} root
 */
export function writeTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    if (!(element instanceof HTMLTimeElement)) continue;
    const moment = new Date(element.dateTime);
    const shown = written(element, moment);
    if (element.textContent !== shown) element.textContent = shown;
  }
  // Drawings have no time element.
  for (const element of root.querySelectorAll("text[data-clock]")) {
    element.textContent = localTime(new Date(element.getAttribute("data-clock") ?? "")).slice(-5);
  }
}
