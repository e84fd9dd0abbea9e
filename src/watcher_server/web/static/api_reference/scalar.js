// The reference of the API in Scalar, without what it offers on hosts of its own.

const reference = /** @type {HTMLElement} */ (document.getElementById("reference"));

Scalar.createApiReference(reference, {
  url: reference.dataset.openapi ?? "",
  agent: { disabled: true },
  hideClientButton: true,
  mcp: { disabled: true },
  proxyUrl: "",
  showDeveloperTools: "never",
  telemetry: false,
  withDefaultFonts: false,
});
