/**
 * The report of the diagnostics page, copied for a bug report.
 */

const SAID_MILLISECONDS = 4000;

/** @param {string} address */
async function fetchReport(address) {
  const answer = await fetch(address, { headers: { accept: "text/plain" } });
  if (!answer.ok) throw new Error(`The report could not be read: status ${answer.status}.`);
  return answer.text();
}

/**
 * Where the browser lets no page write the clipboard, as over plain HTTP, the text is shown, chosen, to be copied.
 *
 * @param {string} text
 */
function showReport(text) {
  const dialog = document.createElement("dialog");
  dialog.className = "report";
  const label = document.createElement("label");
  label.textContent = "Copy this text";
  const area = document.createElement("textarea");
  area.readOnly = true;
  area.value = text;
  label.append(area);
  const form = document.createElement("form");
  form.method = "dialog";
  form.className = "actions";
  const close = document.createElement("button");
  close.textContent = "Close";
  form.append(close);
  dialog.append(label, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}

/**
 * Whether the text is in the clipboard now.
 *
 * @param {string} text
 */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // There is no clipboard without HTTPS, and a browser may refuse it.
    return false;
  }
}

/**
 * @param {HTMLElement} place
 * @param {string} sentence
 */
function say(place, sentence) {
  place.textContent = sentence;
  setTimeout(() => {
    if (place.textContent === sentence) place.textContent = "";
  }, SAID_MILLISECONDS);
}

/**
 * @param {string} address
 * @param {HTMLElement} place
 */
async function copyReport(address, place) {
  try {
    const text = await fetchReport(address);
    if (await copied(text)) say(place, "Copied.");
    else showReport(text);
  } catch (error) {
    say(place, error instanceof Error ? error.message : String(error));
  }
}

const button = document.getElementById("copy-report");
const place = document.getElementById("copied");
if (button && place) {
  button.hidden = false;
  button.addEventListener("click", () => copyReport(button.dataset.report ?? "", place));
}
