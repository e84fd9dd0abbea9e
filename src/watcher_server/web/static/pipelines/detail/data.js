/**
 * What the charts of a pipeline are drawn from: the series that came with the page, and the bands that are fetched.
 */

/**
 * @typedef {{ id: number, lower: number, upper: number }} Anomaly
 * @typedef {object} Runs columns of equal length, the oldest run first
 * @property {number[]} ids
 * @property {number[]} starts in seconds since the epoch
 * @property {boolean[]} failed
 * @property {Record<string, (number | null)[]>} values by metric
 * @property {Record<string, Record<string, Anomaly>>} anomalies by metric and run
 */

/** @typedef {{ pipeline: number, bands: number, runs: Runs }} Series */

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
 * The columns of a chart: moments, values, the upper and the lower bound. Until bands are there, those of the anomalies
 * are known.
 * @param {Runs} runs
 * @param {string} metric
 * @param {Baseline | null} baseline
 * @returns {(number | null)[][]}
 */
export function columns(runs, metric, baseline) {
  const bands = new Map(baseline?.executions.map((run) => [run.id, run]));
  const now = baseline && baseline.upper_bound !== null ? [baseline] : [];
  /** @param {"lower_bound" | "upper_bound"} bound */
  const bounds = (bound) => [
    ...runs.ids.map((id) => bands.get(id)?.[bound] ?? null),
    ...now.map((expected) => expected[bound]),
  ];
  return [
    [...runs.starts, ...now.map((expected) => Date.parse(expected.at) / 1000)],
    [...(runs.values[metric] ?? []), ...now.map(() => null)],
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
  const answer = await fetch(`/pipeline/${pipeline}/baseline?metric=${metric}&executions=${executions}`);
  if (!answer.ok) throw new Error(`The expected ranges could not be loaded (status ${answer.status}).`);
  return answer.json();
}
