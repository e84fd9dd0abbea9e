/**
 * Forms with `data-changes="Change the rule"` ask before they are sent, and say which fields would become what.
 */

/** @param {HTMLInputElement | HTMLSelectElement} field */
function before(field) {
  if (field instanceof HTMLInputElement) return field.defaultValue;
  return [...field.options].find((option) => option.defaultSelected)?.text ?? "";
}

/** @param {HTMLInputElement | HTMLSelectElement} field */
function after(field) {
  return field instanceof HTMLInputElement ? field.value : (field.selectedOptions[0]?.text ?? "");
}

/** @param {HTMLFormElement} form */
function changes(form) {
  /** @type {NodeListOf<HTMLInputElement | HTMLSelectElement>} */
  const fields = form.querySelectorAll("[data-name]");
  return [...fields]
    .filter((field) => before(field) !== after(field))
    .map((field) => `${field.dataset.name} from ${before(field) || "never"} to ${after(field) || "never"}`);
}

/** @param {HTMLFormElement} form */
function sayWhatChanges(form) {
  form.addEventListener("input", () => {
    const changed = changes(form);
    if (changed.length) form.dataset.confirm = `${form.dataset.changes}? ${changed.join("; ")}.`;
    else delete form.dataset.confirm;
  });
}

for (const form of document.querySelectorAll("form[data-changes]")) {
  if (form instanceof HTMLFormElement) sayWhatChanges(form);
}
