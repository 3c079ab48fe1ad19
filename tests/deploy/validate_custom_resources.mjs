// Validates objects of KEDA and of Prometheus' operator against the schemas of their kinds.
// node validate_custom_resources.mjs FOLDER_WITH_NODE_MODULES < OBJECTS.json
// Prints one JSON line for each object: its kind, its name, and what is wrong, or null.
import { readFileSync } from "node:fs";

const packages = { "keda.sh": "keda", "monitoring.coreos.com": "prometheus-operator" };

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const group = object.apiVersion.split("/")[0];
  const path = `@kubernetes-models/${packages[group]}/${object.apiVersion}/${object.kind}.js`;
  const kinds = await import(`${process.argv[2]}/node_modules/${path}`);
  let wrong = null;
  try {
    new kinds[object.kind](object).validate();
  } catch (error) {
    wrong = error.message;
  }
  console.log(JSON.stringify({ kind: object.kind, name: object.metadata.name, wrong }));
}
