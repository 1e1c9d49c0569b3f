// What the page asks of its own server.

const TIMEOUT_MS = 20_000;

let token = sessionStorage.getItem("token") ?? ""; // where the server asks for one

/** Sends a token from now on, until the tab is closed. */
export function setToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** An answer that is an error; status 0 where there was none. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, signal, body) {
  const patience = AbortSignal.timeout(TIMEOUT_MS);
  const options = {
    headers: headers(), signal: signal ? AbortSignal.any([signal, patience]) : patience,
  };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  let response, answer;
  try {
    response = await fetch(path, options);
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (patience.aborted) throw new ApiError("The server takes too long.", 0);
    if (response) throw new ApiError(`The server's answer is no JSON (${response.status}).`, 0);
    throw new ApiError("The server does not answer.", 0);
  }
  if (!response.ok) throw new ApiError(answer.error ?? "Refused.", response.status);
  return answer;
}

export const about = (signal) => ask("page/about", signal);

export const users = (part, signal) =>
  ask(`page/users?${new URLSearchParams({ part })}`, signal);

export const user = (id, seed, signal) =>
  ask(`page/users/${encodeURIComponent(id)}?${new URLSearchParams({ seed })}`, signal);

/** Has an image show the picture of a product; a browser sends no token for one by itself. */
export async function showImage(image, id) {
  const path = `page/images/${encodeURIComponent(id)}`;
  if (!token) {
    image.src = path;
    return;
  }
  try {
    const response = await fetch(path, { headers: headers() });
    if (!response.ok) throw new ApiError("no picture", response.status);
    image.src = URL.createObjectURL(await response.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}

/** The nearest products for each row of the inputs: `[{id, score}]`, best first. */
export async function predict(model, signature, inputs, signal) {
  const path = `v1/models/${encodeURIComponent(model)}:predict`;
  const { outputs } = await ask(path, signal, { signature_name: signature, inputs });
  return outputs.product_id.map((ids, row) =>
    ids.map((id, place) => ({ id, score: outputs.score[row][place] })));
}

const known = new Map(); // products that were asked for, by id; null: there is no such product
const MAX_KNOWN = 2000;
const AT_ONCE = 100;

/** Titles, fields and whether there is a picture, by id; what is not known is `null`. */
export async function products(ids, signal) {
  const missing = [...new Set(ids)].filter((id) => !known.has(id));
  if (known.size > MAX_KNOWN) known.clear();
  for (let place = 0; place < missing.length; place += AT_ONCE) {
    const part = missing.slice(place, place + AT_ONCE);
    const query = new URLSearchParams(part.map((id) => ["id", id]));
    const found = (await ask(`page/products?${query}`, signal)).products;
    for (const id of part) known.set(id, Object.hasOwn(found, id) ? found[id] : null);
  }
  return new Map(ids.map((id) => [id, known.get(id) ?? null]));
}
