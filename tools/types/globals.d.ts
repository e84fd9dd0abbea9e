// What the libraries that are no modules leave behind for ours.
interface SwaggerUIOptions {
  url: string;
  domNode: Element;
  deepLinking: boolean;
  layout: string;
  presets: unknown[];
  validatorUrl: string;
  displayRequestDuration: boolean;
}

interface ScalarOptions {
  url: string;
  agent: { disabled: boolean };
  hideClientButton: boolean;
  mcp: { disabled: boolean };
  proxyUrl: string;
  showDeveloperTools: "always" | "localhost" | "never";
  telemetry: boolean;
  withDefaultFonts: boolean;
}

declare const htmx: typeof import("htmx.org").default;
declare const Idiomorph: typeof import("idiomorph").Idiomorph;
declare const SwaggerUIBundle: {
  (options: SwaggerUIOptions): unknown;
  presets: { apis: unknown };
};
declare const Scalar: { createApiReference(element: Element, options: ScalarOptions): unknown };
