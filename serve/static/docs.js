// The documentation: the OpenAPI document of this server, as tables.

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const code = (text) => element("code", {}, text);

/** A schema in words, as text and links to the schemas that have a name. */
function words(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [element("a", { href: `#${name}` }, name)];
  }
  if (schema.properties) {
    return Object.entries(schema.properties).flatMap(([name, field]) => [code(name), ": ", ...words(field), " "]);
  }
  if (schema.description) return [schema.description];
  if (schema.items) return ["array of ", ...words(schema.items)];
  return [(schema.enum ?? [schema.type ?? schema.oneOf.map(({ type }) => type).join(" or ")]).join(", ")];
}

function table(rows) {
  const lines = rows.map(([name, said]) =>
    element("tr", {}, element("th", { scope: "row" }, code(name)), element("td", {}, ...said)),
  );
  return element("table", {}, ...lines);
}

function section([path, item]) {
  return Object.entries(item).flatMap(([method, { description = "", parameters = [], requestBody, responses }]) => [
    element("h2", {}, code(`${method.toUpperCase()} ${path}`)),
    element("p", {}, description),
    table([
      ...parameters.map(({ name, schema }) => [`?${name}=`, words(schema)]),
      ...Object.entries(requestBody?.content ?? {}).map(([kind, { schema }]) => [kind, words(schema)]),
      ...Object.entries(responses).map(([status, { description, content = {} }]) => [
        status,
        [`${description} `, ...Object.values(content).flatMap(({ schema }) => words(schema))],
      ]),
    ]),
  ]);
}

const { paths, components } = await (await fetch("schema")).json();
document.getElementById("operations").append(...Object.entries(paths).flatMap(section));
for (const [name, { properties }] of Object.entries(components.schemas)) {
  if (!properties) continue;
  const rows = Object.entries(properties).map(([field, schema]) => [field, words(schema)]);
  document.getElementById("schemas").append(element("h3", { id: name }, name), table(rows));
}
