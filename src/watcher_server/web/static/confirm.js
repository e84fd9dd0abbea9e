/**
 * Forms with `data-confirm="What will happen?"` ask before they are sent.
 */

/**
 * @param {string} value
 * @param {string} label
 * @param {string} kind
 */
function choice(value, label, kind) {
  const button = document.createElement("button");
  button.value = value;
  button.textContent = label;
  button.className = kind;
  return button;
}

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
function ask(form, submitter) {
  const dialog = document.createElement("dialog");
  const question = document.createElement("p");
  question.textContent = form.dataset.confirm ?? "";
  const buttons = document.createElement("form");
  buttons.method = "dialog";
  buttons.className = "actions";
  buttons.append(choice("yes", submitter?.textContent?.trim() || "Go on", "primary"), choice("no", "Cancel", ""));
  dialog.append(question, buttons);
  dialog.addEventListener("close", () => {
    dialog.remove();
    submitter?.focus();
    if (dialog.returnValue === "yes") {
      form.dataset.confirmed = "yes";
      form.requestSubmit(submitter);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** Have forms ask first. */
export function askFirst() {
  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (!(form instanceof HTMLFormElement) || !form.dataset.confirm) return;
      // A button that only looks, such as one for a preview, changes nothing.
      if (event.submitter?.getAttribute("formmethod") === "get") return;
      if (form.dataset.confirmed) {
        delete form.dataset.confirmed;
        return;
      }
      // Before htmx, which listens too, takes it for sent.
      event.preventDefault();
      event.stopImmediatePropagation();
      ask(form, event.submitter);
    },
    { capture: true },
  );
}
