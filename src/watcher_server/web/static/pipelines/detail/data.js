/**
 * What the charts of a pipeline are drawn from: the series that came with the page, and the bands that are fetched.
 */

import { root } from "../../root.js";

/**
 * @typedef {{ id: number, lower: number, upper: number }} Anomaly
 * @typedef {object} Runs columns of equal length, the oldest run first
 * @property {number[]} ids
 * @property {number[]} starts in seconds since the epoch
 * @property {boolean[]} failed
 * @property {Record<string, (number | null)[]>} values by metric
 * @property {Record<string, Record<string, Anomaly>>} anomalies by metric and run
 */

/** @typedef {{ pipeline: number, runs: Runs }} Series */

/**
 * @typedef {object} Baseline as the API answers it
 * @property {"learning" | "ready" | "inactive"} state
 * @property {string} at
 * @property {number | null} lower_bound
 * @property {number | null} upper_bound
 * @property {number} execution_count
 * @property {number} minimum_executions
 * @property {{ id: number, lower_bound: number | null, upper_bound: number | null }[]} executions
 */

/** @returns {Series | null} what came with the page; null on a page without runs */
export function readSeries() {
  const text = document.getElementById("series")?.textContent;
  return text ? JSON.parse(text) : null;
}

/**
 * The columns of a chart: moments, values, the upper and the lower bound; after the runs comes now, where the axis ends.
 * @param {Runs} runs
 * @param {string} metric
 * @param {Baseline | null} baseline
 * @returns {(number | null)[][]}
 */
export function columns(runs, metric, baseline) {
  const bands = new Map(baseline?.executions.map((run) => [run.id, run]));
  const now = baseline ? Date.parse(baseline.at) / 1000 : Date.now() / 1000;
  /** @param {"lower_bound" | "upper_bound"} bound */
  const bounds = (bound) => [...runs.ids.map((id) => bands.get(id)?.[bound] ?? null), baseline?.[bound] ?? null];
  return [
    // The clock of a viewer may be behind the server's.
    [...runs.starts, Math.max(now, (runs.starts.at(-1) ?? 0) + 1)],
    [...(runs.values[metric] ?? []), null],
    bounds("upper_bound"),
    bounds("lower_bound"),
  ];
}

/**
 * What a rule expects now, and expected of the latest runs.
 * @param {number} pipeline
 * @param {string} metric
 * @param {number} executions number of successful runs
 * @returns {Promise<Baseline>}
 */
export async function fetchBaseline(pipeline, metric, executions) {
  const answer = await fetch(`${root}/pipeline/${pipeline}/baseline?metric=${metric}&executions=${executions}`);
  if (!answer.ok) throw new Error(`The expected ranges could not be loaded (status ${answer.status}).`);
  return answer.json();
}
