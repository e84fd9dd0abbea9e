// Reads a ScaledObject as JSON from standard input; prints what its schema says against it, and ends with status 1.
const { readFileSync } = require("node:fs");
const { ScaledObject } = require("@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject");

try {
  new ScaledObject(JSON.parse(readFileSync(0, "utf8"))).validate();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
