// Makes a Postman collection from the OpenAPI document: node collection.js DOCUMENT COLLECTION
//
// The converter knows the requests. What it does not know is added here: bodies that make sense one after the other,
// who asks, and that every answer has to be a documented one. Run from top to bottom it works on an empty shop.

import { readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import converter from "openapi-to-postmanv2";

const VARIABLES = { baseUrl: "http://localhost:4000", TOKEN_ADMIN: "", TOKEN_USER: "", REFRESH_TOKEN: "" };

// Where the document has no example.
const PARAMETERS = {
  "Idempotency-Key": "{{$guid}}",
  "if-match": '"1"',
  brand: "Brew & Co",
  category: "tea",
  code: "version_conflict",
  currency: "INR",
  q: "assam",
  tag: "black-tea",
};
const BODIES = {
  change_password: { current_password: "correct horse battery", new_password: "staple correct horse" },
  patch_product: { stock: 39 },
  patch_user: { disabled: false },
  refresh_session: { refresh_token: "{{REFRESH_TOKEN}}" },
};
const KEEP_TOKENS = [
  "const tokens = pm.response.json();",
  'pm.collectionVariables.set("TOKEN_USER", tokens.access_token);',
  'pm.collectionVariables.set("REFRESH_TOKEN", tokens.refresh_token);',
];
const METHODS = ["POST", "GET", "PUT", "PATCH", "DELETE"];

const [source, target] = process.argv.slice(2);
const document = JSON.parse(readFileSync(source, "utf8"));
const schemas = document.components.schemas;

for (const operation of Object.values(document.paths).flatMap(Object.values)) {
  for (const parameter of operation.parameters ?? []) {
    if (parameter.name in PARAMETERS) parameter.example = PARAMETERS[parameter.name];
  }
  for (const media of Object.values(operation.requestBody?.content ?? {})) {
    media.example = BODIES[operation.operationId] ?? exampleOf(media.schema);
  }
}

/** The schema's own example, or one of all its properties that have one. */
function exampleOf(schema) {
  const { examples, properties } = schemas[schema.$ref?.split("/").at(-1)] ?? schema;
  if (examples) return examples[0];
  const told = Object.entries(properties ?? {}).filter(([, property]) => property.examples);
  return Object.fromEntries(told.map(([name, property]) => [name, property.examples[0]]));
}

const { result, reason, output } = await promisify(converter.convertV2)(
  { type: "json", data: document },
  { folderStrategy: "Tags", parametersResolution: "Example" },
);
if (!result) throw new Error(reason);
const collection = output[0].data;
collection.variable = Object.entries(VARIABLES).map(([key, value]) => ({ key, value, type: "string" }));
collection.item.forEach((folder) => {
  folder.item.forEach(complete);
  folder.item.sort((one, other) => rank(one) - rank(other));
});
// Last, since it ends what TOKEN_USER is good for.
const isLast = (item) => item.name === "sign_out";
const folder = collection.item.find((folder) => folder.item.some(isLast));
collection.item.push(...folder.item.splice(folder.item.findIndex(isLast), 1));
writeFileSync(target, JSON.stringify(collection, null, 2) + "\n");

function complete(item) {
  const { method, url, header } = item.request;
  const path = pathOf(item);
  const operation = document.paths[path.replace(/:(\w+)/g, "{$1}")][method.toLowerCase()];
  const { operationId, responses, security, parameters = [] } = operation;
  const optional = parameters.filter((parameter) => !parameter.required).map((parameter) => parameter.name);
  const documented = Object.keys(responses).map(Number).filter((status) => status < 500);
  const check = `pm.test("the answer is a documented one", () => pm.expect(${JSON.stringify(documented)}).to.include(pm.response.code));`;
  const keep = ["sign_in", "refresh_session"].includes(operationId) ? KEEP_TOKENS : [];
  for (const part of [...url.query, ...header]) part.disabled = optional.includes(part.key);
  item.name = operationId;
  item.response = [];
  item.event = [{ listen: "test", script: { type: "text/javascript", exec: [check, ...keep] } }];
  item.request.auth = { type: "noauth" };
  if (security.length && security.every((scheme) => Object.keys(scheme).length)) {
    const token = /^\/(users\/me|auth)\b/.test(path) ? "{{TOKEN_USER}}" : "{{TOKEN_ADMIN}}";
    item.request.auth = { type: "bearer", bearer: [{ key: "token", value: token, type: "string" }] };
  }
}

/** What makes first, what removes last; and of that what concerns oneself before one is removed. */
function rank(item) {
  return 2 * METHODS.indexOf(item.request.method) + (pathOf(item).startsWith("/users/me") ? 0 : 1);
}

function pathOf(item) {
  return `/${item.request.url.path.join("/")}`;
}
