// The reference of the API in Swagger UI.

const reference = /** @type {HTMLElement} */ (document.getElementById("reference"));
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Swagger UI has a dark scheme, but leaves to the page when it is shown. */
function followScheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

dark.addEventListener("change", followScheme);
followScheme();
SwaggerUIBundle({
  url: reference.dataset.openapi ?? "",
  domNode: reference,
  deepLinking: true,
  displayRequestDuration: true,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  // The validator would be a server of another company.
  validatorUrl: "none",
});
