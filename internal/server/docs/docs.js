"use strict";
// Draws openapi.json: each operation with its answers, its schema and a form
// to try it. Text is set as text and never as markup.
const el = (name, props, ...children) => {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
};
const main = document.getElementById("main");
const key = document.getElementById("key");
const headers = (more) => (key.value ? { ...more, "X-API-Key": key.value } : more);

const resolve = (doc, schema) => {
  if (!schema || typeof schema !== "object") return schema;
  if (Array.isArray(schema)) return schema.map((s) => resolve(doc, s));
  if (schema.$ref) return resolve(doc, doc.components.schemas[schema.$ref.split("/").pop()]);
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, resolve(doc, v)]));
};

const tryIt = (method, path, op) => {
  const box = el("div");
  const fields = {};
  for (const name of [...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1])) {
    fields[name] = el("input", { placeholder: name });
    box.append(el("label", {}, name + " ", fields[name]), " ");
  }
  let body;
  if (op.requestBody) {
    const example = op.requestBody.content["application/json"].example;
    body = el("textarea", { value: JSON.stringify(example, null, 2), spellcheck: false, ariaLabel: "request body" });
    box.append(body);
  }
  const send = el("button", { textContent: "Send " + method.toUpperCase() });
  const out = el("pre", { hidden: true });
  out.setAttribute("aria-live", "polite");
  send.addEventListener("click", async () => {
    send.disabled = true;
    out.hidden = false;
    out.textContent = "…";
    const url = path.slice(1).replace(/\{(\w+)\}/g, (_, n) => encodeURIComponent(fields[n].value));
    const options = { method: method.toUpperCase(), headers: headers(body ? { "Content-Type": "application/json" } : {}) };
    if (body) options.body = body.value;
    const start = performance.now();
    try {
      const r = await fetch(url, options);
      let text = await r.text();
      const took = (performance.now() - start).toFixed(1);
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      const id = r.headers.get("X-Request-ID"), time = r.headers.get("X-Process-Time");
      out.textContent = `${r.status} ${r.statusText} in ${took} ms (server ${time} s, id ${id})\n\n${text}`;
    } catch (e) {
      out.textContent = "The request failed: " + e.message;
    }
    send.disabled = false;
  });
  box.append(send, out);
  return box;
};

const operation = (doc, method, path, op) => {
  const rows = Object.entries(op.responses).map(([status, r]) =>
    el("tr", {}, el("td", { textContent: status }), el("td", { textContent: r.description })));
  const inside = el("div", {}, tryIt(method, path, op), el("table", {}, el("tbody", {}, ...rows)));
  if (op.requestBody) {
    const schema = resolve(doc, op.requestBody.content["application/json"].schema);
    inside.append(el("details", {}, el("summary", { textContent: "Schema of the request" }),
      el("div", {}, el("pre", { textContent: JSON.stringify(schema, null, 2) }))));
  }
  return el("details", {},
    el("summary", {}, el("span", { className: "method", textContent: method.toUpperCase() }),
      el("span", { className: "path", textContent: path }), el("span", { className: "what", textContent: op.summary })),
    inside);
};

const load = async () => {
  const state = el("p", { textContent: "Loading the description of the API…" });
  main.replaceChildren(state);
  let doc;
  try {
    const r = await fetch("openapi.json", { headers: headers({}) });
    doc = await r.json();
    if (!r.ok) {
      state.textContent = `${r.status}: ${doc.message}`;
      return;
    }
  } catch (e) {
    state.textContent = "The description could not be loaded: " + e.message;
    return;
  }
  document.getElementById("title").textContent = `${doc.info.title} ${doc.info.version}`;
  document.getElementById("about").textContent = doc.info.description;
  const tags = new Map(["predict", "sessions", "models"].map((tag) => [tag, []]));
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of ["get", "post", "delete"]) {
      if (!item[method]) continue;
      const tag = item[method].tags[0];
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(operation(doc, method, path, item[method]));
    }
  }
  main.replaceChildren();
  for (const [tag, list] of tags) main.append(el("h2", { textContent: tag }), ...list);
};
key.addEventListener("change", load);
load();
