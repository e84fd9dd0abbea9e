/**
 * The tasks page: how deep the queues were, as a chart with the levels from which they are alerted.
 */

import { color, makeChart } from "../chart.js";

/**
 * @typedef {object} Depths
 * @property {number[]} moments in seconds since the epoch
 * @property {{ name: string, pending: (number | null)[] }[]} queues
 * @property {{ info: number, warning: number, critical: number }} thresholds
 */

const QUEUE_COLORS = ["--accent", "--odd", "--good", "--muted"];
const LEVELS = /** @type {const} */ ([
  ["info", "--live"],
  ["warning", "--warn"],
  ["critical", "--bad"],
]);
const HEIGHT = 200;
const LABEL_SPACE = 13;

/** @returns {Depths | null} what the page holds, null when nothing was measured */
function readDepths() {
  const data = document.getElementById("depth-data");
  return data?.textContent ? JSON.parse(data.textContent) : null;
}

/** @param {Depths} depths */
function lines(depths) {
  const queues = depths.queues.map((queue, place) => ({
    label: queue.name,
    color: QUEUE_COLORS[place % QUEUE_COLORS.length] ?? "--muted",
    width: 1.75,
  }));
  const levels = LEVELS.map(([level, token]) => ({
    label: level.toUpperCase(),
    color: token,
    width: 1,
    dash: [5, 4],
  }));
  return [...queues, ...levels];
}

/** @param {Depths} depths */
function columns(depths) {
  const levels = LEVELS.map(([level]) => depths.moments.map(() => depths.thresholds[level]));
  return [depths.moments, ...depths.queues.map((queue) => queue.pending), ...levels];
}

/**
 * Write the name of each level on its line; of those that lie too close together, the most serious.
 * @param {any} chart
 * @param {Depths} depths
 */
function labelLevels(chart, depths) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  let above = Number.NEGATIVE_INFINITY;
  for (const [level, token] of [...LEVELS].reverse()) {
    const y = chart.valToPos(depths.thresholds[level], "y", true);
    if (y - above < LABEL_SPACE * ratio) continue;
    above = y;
    ctx.fillStyle = color(token);
    ctx.fillText(`${level.toUpperCase()} ${depths.thresholds[level]}`, bbox.left + 4 * ratio, y - 2 * ratio);
  }
  ctx.restore();
}

/** Draw the chart, and draw it again when the page has received newer numbers. */
function showDepths() {
  const element = document.getElementById("depth-chart");
  /** @type {{ chart: any, names: string, depths: Depths } | null} */
  let shown = null;

  function draw() {
    const depths = readDepths();
    if (!element || !depths) return;
    const names = depths.queues.map((queue) => queue.name).join("\n");
    if (shown && shown.names === names) {
      shown.depths = depths;
      shown.chart.setData(columns(depths));
      return;
    }
    element.hidden = false;
    const chart = makeChart(element, {
      lines: lines(depths),
      data: columns(depths),
      height: HEIGHT,
      wide: true,
      overlay: (drawn) => labelLevels(drawn, shown?.depths ?? depths),
    });
    shown = { chart, names, depths };
  }

  draw();
  document.addEventListener("htmx:afterSettle", (event) => {
    const target = event.target;
    if (target instanceof Element && target.id === "depths") draw();
  });
}

showDepths();
