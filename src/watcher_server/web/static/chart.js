/**
 * Time series by uPlot, in the colours of the page, as wide as their container, drawn anew when the scheme changes.
 */

import uPlot from "./vendor/uplot/uPlot.esm.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color a token of the stylesheet, such as "--accent"
 * @property {number} [width] in CSS pixels
 * @property {number[]} [dash]
 * @property {boolean} [points] whether each value has a mark
 * @property {boolean} [hidden] drawn by nothing but a band
 * @property {boolean} [stepped] holds its value until the next
 * @property {boolean} [spans] goes on across moments without a value
 * @property {(value: number | null) => string} [format] of the legend
 */

/**
 * @typedef {object} Band
 * @property {number} upper the place of the upper line among the lines, from 1
 * @property {number} lower the place of the lower line
 * @property {string} color a token, such as "--band"
 */

/**
 * @typedef {object} ChartOptions
 * @property {Line[]} lines
 * @property {(number | null)[][]} data first the moments, in seconds since the epoch, then the values of each line
 * @property {Band[]} [bands]
 * @property {number} [height] in CSS pixels
 * @property {(value: number) => string} [format] of the ticks of the y axis
 * @property {number} [least] the least span of the y axis begins here; 0 unless given
 * @property {boolean} [wide] the y axis grows slower than the values, so that small ones show beside large ones
 * @property {string} [sync] charts of one name share their cursor
 * @property {(chart: any) => void} [overlay] draws over the lines, on `chart.ctx`
 */

/** @param {string} token */
export function color(token) {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}

const LEAST_SPAN_SECONDS = 300;

const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });

/** @param {number | null} value */
const full = (value) => (value === null || value === undefined ? "–" : plain.format(value));

/** @param {Line} line */
function series(line) {
  return {
    label: line.label,
    stroke: () => (line.hidden ? "transparent" : color(line.color)),
    width: line.width ?? 1.5,
    dash: line.dash,
    points: { show: line.points ?? false, size: 5, fill: () => color(line.color) },
    paths: line.stepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
    value: (/** @type {unknown} */ _chart, /** @type {number | null} */ value) => (line.format ?? full)(value),
    spanGaps: line.spans ?? false,
  };
}

// From which step on (in seconds) a tick is written how, and what stands below it where a larger unit begins: uPlot's own
// format, with 24 hours and without American order.
const DAY_BELOW = ["\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1];
const TICKS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600, "{HH}:00", ...DAY_BELOW],
  [60, "{HH}:{mm}", ...DAY_BELOW],
  [1, ":{ss}", "\n{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

/**
 * Zero and the powers of ten that an axis reaches.
 * @param {unknown} _chart
 * @param {number} _place
 * @param {number} _least
 * @param {number} most
 */
function powersOfTen(_chart, _place, _least, most) {
  return [0, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter((value) => value <= most);
}

/**
 * @param {unknown} _chart
 * @param {number[]} ticks
 */
const everyTick = (_chart, ticks) => ticks;

/**
 * The span of the axis of time, so long that one moment is a point of it.
 * @param {unknown} _chart
 * @param {number} from
 * @param {number} until
 */
function longEnough(_chart, from, until) {
  return [Math.min(from, until - LEAST_SPAN_SECONDS), until];
}

/** @param {ChartOptions} options */
function axes(options) {
  const shared = {
    stroke: () => color("--muted"),
    grid: { stroke: () => color("--grid"), width: 1 },
    ticks: { stroke: () => color("--grid"), width: 1 },
    font: "11px system-ui, sans-serif",
  };
  const format = options.format ?? ((/** @type {number} */ value) => compact.format(value));
  return [
    { ...shared, space: 70, values: TICKS },
    {
      ...shared,
      size: 56,
      ...(options.wide ? { splits: powersOfTen, filter: everyTick } : {}),
      values: (/** @type {unknown} */ _chart, /** @type {number[]} */ ticks) => ticks.map(format),
    },
  ];
}

/**
 * @param {ChartOptions} options
 * @param {number} width in CSS pixels
 * @returns {any} what uPlot takes
 */
function plotOptions(options, width) {
  return {
    width,
    height: options.height ?? 200,
    cursor: options.sync ? { sync: { key: options.sync } } : {},
    legend: { live: true },
    scales: {
      x: { range: longEnough },
      y: {
        ...(options.wide ? { distr: 4, asinh: 10 } : {}),
        range: { min: { soft: options.least ?? 0, mode: 1, pad: 0.05 }, max: { mode: 1, pad: 0.1 } },
      },
    },
    series: [{ label: "Time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...options.lines.map(series)],
    bands: (options.bands ?? []).map((band) => ({
      series: [band.upper, band.lower],
      fill: () => color(band.color),
    })),
    axes: axes(options),
    hooks: options.overlay ? { draw: [options.overlay] } : {},
  };
}

/**
 * Draw a chart into an element, whose content it replaces.
 * @param {HTMLElement} element
 * @param {ChartOptions} options
 * @returns {any} the uPlot chart: `setData(data)` draws other values
 */
export function makeChart(element, options) {
  element.replaceChildren();
  const chart = new uPlot(plotOptions(options, element.clientWidth || 600), /** @type {any} */ (options.data), element);
  new ResizeObserver(() => {
    const width = element.clientWidth;
    if (width && width !== chart.width) chart.setSize({ width, height: options.height ?? 200 });
  }).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw(false, true));
  return chart;
}
