/**
 * One metric of a pipeline as a chart: its values, the range that was expected of each, the anomalies and the failures.
 */

import { color, makeChart } from "../../chart.js";
import { durationText, localTime } from "../../time.js";
import { columns, fetchBaseline } from "./data.js";

/** @typedef {import("./data.js").Series} Series */
/** @typedef {import("./data.js").Baseline} Baseline */

const HEIGHT = 190;
const LEAST_SECONDS_IN_UNITS = 60;
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/**
 * Numbers as precise as one of this size is written.
 * @param {number} size
 */
function precise(size) {
  return new Intl.NumberFormat(undefined, { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
}

/**
 * @param {string} metric
 * @param {number} value
 * @param {Intl.NumberFormat} numbers
 */
function amount(metric, value, numbers = precise(value)) {
  if (metric === "throughput") return `${numbers.format(value)} rows/s`;
  if (metric !== "duration_seconds") return numbers.format(value);
  return value < LEAST_SECONDS_IN_UNITS ? `${numbers.format(value)} s` : durationText(value);
}

/** One chart, with what was expected as far as it is known. */
export class MetricChart {
  /**
   * @param {HTMLElement} element
   * @param {Series} series
   */
  constructor(element, series) {
    this.element = element;
    this.series = series;
    this.metric = element.dataset.metric ?? "";
    /** @type {Baseline | null} */
    this.baseline = null;
    this.readout = document.createElement("p");
    this.readout.className = "readout";
    this.chart = this.draw();
    element.after(this.readout);
    this.listen();
  }

  draw() {
    return makeChart(this.element, {
      height: HEIGHT,
      sync: "pipeline",
      data: columns(this.series.runs, this.metric, null),
      lines: [
        { label: "Value", color: "--accent", points: this.series.runs.ids.length <= 60 },
        // Across failed runs, which are not judged.
        { label: "Upper", color: "--accent", hidden: true, spans: true },
        { label: "Lower", color: "--accent", hidden: true, spans: true },
      ],
      bands: [{ upper: 2, lower: 3, color: "--band" }],
      format: (value) => amount(this.metric, value, compact).replace(" rows", ""),
      overlay: (chart) => this.mark(chart),
    });
  }

  /** @param {number | null | undefined} place among the runs */
  anomaly(place) {
    const id = this.series.runs.ids[place ?? -1];
    return id === undefined ? undefined : this.series.runs.anomalies[this.metric]?.[id];
  }

  /**
   * Anomalies as rings with the range that they fell out of, failed runs as ticks on the axis.
   * @param {any} chart
   */
  mark(chart) {
    const { ids, starts, failed, values } = this.series.runs;
    const { ctx, bbox } = chart;
    const pixel = globalThis.devicePixelRatio;
    ctx.save();
    ctx.lineWidth = 2 * pixel;
    for (const [place, start] of starts.entries()) {
      const x = chart.valToPos(start, "x", true);
      if (failed[place]) {
        ctx.fillStyle = color("--bad");
        ctx.fillRect(x - 1.5 * pixel, bbox.top + bbox.height - 10 * pixel, 3 * pixel, 10 * pixel);
      }
      const value = values[this.metric]?.[place];
      if (!this.anomaly(place) || value === null || value === undefined || ids[place] === undefined) continue;
      ctx.strokeStyle = color("--odd");
      ctx.beginPath();
      ctx.arc(x, chart.valToPos(value, "y", true), 5 * pixel, 0, 2 * Math.PI);
      ctx.stroke();
    }
    ctx.restore();
  }

  listen() {
    const over = this.chart.over;
    over.addEventListener("mousemove", () => this.describe());
    over.addEventListener("mouseleave", () => this.readout.replaceChildren());
    over.addEventListener("click", () => this.open());
  }

  describe() {
    const place = this.chart.cursor.idx;
    const [starts, values, upper, lower] = this.chart.data;
    this.chart.over.classList.toggle("over-anomaly", this.anomaly(place) !== undefined);
    if (place === null || place === undefined) return;
    const parts = [localTime(new Date(starts[place] * 1000))];
    if (this.series.runs.failed[place]) parts.push("failed");
    if (values[place] !== null && values[place] !== undefined) parts.push(amount(this.metric, values[place]));
    if (upper[place] !== null && upper[place] !== undefined) {
      const isNow = place >= this.series.runs.ids.length;
      parts.push(`${isNow ? "now expected" : "expected"} ${this.range(lower[place], upper[place])}`);
    }
    this.readout.textContent = parts.join(" · ");
  }

  /**
   * @param {number} lower
   * @param {number} upper
   */
  range(lower, upper) {
    const numbers = precise(upper);
    return `${amount(this.metric, lower, numbers)} to ${amount(this.metric, upper, numbers)}`;
  }

  /** The numbers behind the anomaly under the cursor, by the link that the page has for it. */
  open() {
    const found = this.anomaly(this.chart.cursor.idx);
    const link = found && document.querySelector(`a[data-anomaly="${found.id}"]`);
    if (link instanceof HTMLElement) link.click();
  }

  async expect() {
    const said = document.querySelector(`[data-expectation="${this.metric}"]`);
    if (!(said instanceof HTMLElement)) return;
    try {
      this.baseline = await fetchBaseline(this.series.pipeline, this.metric, this.series.runs.ids.length);
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : String(error);
      return;
    }
    this.chart.setData(columns(this.series.runs, this.metric, this.baseline));
    said.textContent = this.expectation(this.baseline);
  }

  /** @param {Baseline} baseline */
  expectation({ state, lower_bound, upper_bound, execution_count, minimum_executions }) {
    if (lower_bound === null || upper_bound === null) {
      return `Learning: ${execution_count} of ${minimum_executions} runs.`;
    }
    const from = `from ${execution_count} runs`;
    const off = state === "inactive" ? ", but the rule is off" : "";
    return `Of a run now, ${this.range(lower_bound, upper_bound)} is expected, ${from}${off}.`;
  }
}
