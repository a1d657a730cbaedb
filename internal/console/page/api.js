// Requests to the server that the page came from. Addresses are relative, so
// that they hold behind a proxy that adds a prefix. The key lives in this module
// and nowhere else: not in storage, not in an address, not in the page.

let key = "";

// setKey takes the key that is sent with every request, "" for none.
export const setKey = (text) => {
  key = text.trim();
};

// hasKey tells whether there is one.
export const hasKey = () => key !== "";

// Refused is an answer that is not a success, or none at all (status 0).
export class Refused extends Error {
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

const timeout = 15_000; // ms; a reload waits longer

// call asks a route and returns its JSON, or its text where that is asked for.
// It throws a Refused with the server's own words.
export const call = async (path, { method = "GET", body, text = false, wait = timeout } = {}) => {
  const headers = {};
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response, got;
  try {
    response = await fetch(path, {
      method, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(wait),
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    got = await response.text();
  } catch (e) {
    throw new Refused(0, "", e.name === "TimeoutError" ? "the server did not answer in time" : "the server cannot be reached");
  }
  if (response.ok && text) return got;
  let json;
  try {
    json = JSON.parse(got);
  } catch {
    if (response.ok) throw new Refused(response.status, "", "the answer is no JSON", got);
  }
  if (!response.ok) throw new Refused(response.status, json?.error ?? "", json?.message ?? json?.error ?? `status ${response.status}`, json);
  return json;
};

// modelPath is the route of a model's contract, or of one version's.
export const modelPath = (model, version) =>
  `v1/models/${encodeURIComponent(model)}` + (version ? `/versions/${encodeURIComponent(version)}` : "");
