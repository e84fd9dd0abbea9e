/**
 * Completing the name of an address while it is typed: a combobox with a list of the addresses found.
 */

import { root } from "../root.js";

const WAIT_MILLISECONDS = 120;
const PATH_STATE = ["source_address_id", "from", "to", "direction", "depth"];

/** @typedef {{id: number, name: string, type_name: string}} Found */

/** Complete what is typed in the search of this page. */
export function completeSearch() {
  for (const form of document.querySelectorAll("form[data-search]")) {
    if (form instanceof HTMLFormElement) new Combobox(form).begin();
  }
}

class Combobox {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.source = form.dataset.search ?? "";
    this.input = /** @type {HTMLInputElement} */ (form.querySelector("input[type=search]"));
    this.list = /** @type {HTMLElement} */ (form.querySelector("[role=listbox]"));
    this.status = /** @type {HTMLElement} */ (form.querySelector("[data-search-status]"));
    this.active = -1;
    this.asked = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
  }

  begin() {
    const { input } = this;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", this.list.id);
    input.setAttribute("aria-expanded", "false");
    input.addEventListener("input", () => this.#type());
    input.addEventListener("keydown", (event) => this.#press(event));
    input.addEventListener("focusout", () => this.#close());
    input.form?.addEventListener("submit", () => this.#keepPath());
    // Without this, pressing the button would take the focus away and close the list before the click.
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => this.#click(event));
  }

  /** Send what the address of the page says of the path: it may have been begun since the page was loaded. */
  #keepPath() {
    const url = new URL(location.href);
    for (const old of this.input.form?.querySelectorAll("input[type=hidden]") ?? []) old.remove();
    for (const name of seeksEnd(url) ? PATH_STATE : []) {
      const value = url.searchParams.get(name);
      if (value === null) continue;
      const kept = Object.assign(document.createElement("input"), { type: "hidden", name, value });
      this.input.form?.append(kept);
    }
  }

  #type() {
    clearTimeout(this.waiting);
    this.asked.abort();
    if (!this.input.value.trim()) this.#close();
    else this.waiting = setTimeout(() => this.#find(), WAIT_MILLISECONDS);
  }

  async #find() {
    this.asked = new AbortController();
    const query = new URLSearchParams({ q: this.input.value });
    try {
      const answer = await fetch(`${this.source}?${query}`, { signal: this.asked.signal });
      if (answer.ok) this.#show(await answer.json());
      else this.#say("The search does not answer; press Enter to try without completion.");
    } catch (error) {
      // A newer search has replaced this one.
      if (!(error instanceof DOMException && error.name === "AbortError")) this.#say("Watcher does not answer.");
    }
  }

  /** @param {{addresses: Found[], more: boolean}} found */
  #show({ addresses, more }) {
    this.list.replaceChildren(...addresses.map((address, place) => this.#option(address, place)));
    const nothing = addresses.length ? "" : "No address has that in its name.";
    const note = more ? "There are more: type more of the name." : nothing;
    if (note) this.list.append(remark(note));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.#activate(-1);
    this.#say(`${addresses.length} address${addresses.length === 1 ? "" : "es"} found. ${note}`);
  }

  /**
   * @param {Found} address
   * @param {number} place
   */
  #option(address, place) {
    const option = document.createElement("li");
    option.id = `${this.list.id}-${place}`;
    option.role = "option";
    option.ariaSelected = "false";
    option.dataset.address = `${address.id}`;
    const kind = document.createElement("span");
    kind.className = "muted small";
    kind.textContent = address.type_name;
    option.append(address.name, " ", kind);
    return option;
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    const options = this.#options();
    const steps = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 });
    const step = steps[event.key];
    const chosen = options[this.active];
    if (step && options.length && !this.list.hidden) {
      const last = options.length - 1;
      const next = this.active + step;
      this.#activate(next > last ? -1 : next < -1 ? last : next);
    } else if (step) this.#find();
    else if (event.key === "Enter" && chosen && !this.list.hidden) open(chosen);
    else if (event.key === "Escape" && !this.list.hidden) this.#close();
    else return;
    event.preventDefault();
  }

  #options() {
    return /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll("[role=option]")]);
  }

  /** @param {number} place */
  #activate(place) {
    const options = this.#options();
    this.active = place;
    for (const [number, option] of options.entries()) option.ariaSelected = `${number === place}`;
    const active = options[place];
    if (active) this.input.setAttribute("aria-activedescendant", active.id);
    else this.input.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  #close() {
    clearTimeout(this.waiting);
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
    this.active = -1;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
    if (option instanceof HTMLElement) open(option);
  }

  /** @param {string} text */
  #say(text) {
    this.status.textContent = text;
  }
}

/** @param {string} text */
function remark(text) {
  const item = document.createElement("li");
  item.role = "presentation";
  item.className = "muted small remark";
  item.textContent = text;
  return item;
}

/** @param {HTMLElement} option */
function open(option) {
  location.assign(destination(option.dataset.address ?? ""));
}

/**
 * Where a found address leads: to its lineage, or while a path has only one end, to the path that it completes.
 * @param {string} address
 */
function destination(address) {
  const url = new URL(location.href);
  if (!seeksEnd(url)) return `${root}/lineage-graph?source_address_id=${address}`;
  url.searchParams.set(url.searchParams.has("from") ? "to" : "from", address);
  url.searchParams.set("selected", address);
  return url.href;
}

/** @param {URL} url */
function seeksEnd({ searchParams }) {
  return searchParams.has("source_address_id") && searchParams.has("from") !== searchParams.has("to");
}
