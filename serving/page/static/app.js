// The page: the hash says what is shown (#q=..., #similar=ID, #users, #user=ID&seed=N).

import * as api from "./api.js";
import { skeletons } from "./cards.js";
import { counted, element, hashOf } from "./dom.js";
import { listenToKeys } from "./keys.js";
import * as views from "./views.js";

const DEBOUNCE_MS = 120;
const PATIENCE_MS = 200; // before a view that is on its way shows that it is
const PAGE = 24;
const MOST = 192;

const [form, field, chooser, peopleLink, status, view, footer] = [
  "search", "query", "model", "people", "status", "view", "about",
].map((id) => document.getElementById(id));

let about = null;
let under = new AbortController(); // of the view that is shown or on its way; older ones are dropped
let timer = 0;
let opened = null; // the card that led from a list, to be focused on the way back
let listHash = "#"; // the list that a product or user was opened from

const model = () => about.models.find((one) => one.name === chooser.value) ?? about.models[0];
const state = () => new URLSearchParams(location.hash.slice(1));

/** Shows what the hash says. `focus`: the focus goes to the new heading. */
async function show(focus = false) {
  const amongUsers = state().has("users") || state().has("user");
  peopleLink.setAttribute("aria-current", amongUsers ? "page" : "false");
  clearTimeout(timer);
  under.abort();
  const mine = (under = new AbortController());
  const waiting = setTimeout(() => begin(), PATIENCE_MS);
  const fields = state();
  try {
    about ??= await prepared(mine.signal);
    const { content, said, title, after } = await made(fields, mine.signal);
    if (mine.signal.aborted) return;
    finish(content, said, title);
    after?.();
    if (focus) focusOn(fields);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof api.ApiError)) throw error;
    fail(error);
  } finally {
    clearTimeout(waiting);
  }
}

function fail(error) {
  const again = () => show(true);
  const ask = () => views.tokenNeeded((token) => (api.setToken(token), again()));
  finish(error.status === 401 ? ask() : views.failure(error, again), error.message, "Error");
}

function begin() {
  view.setAttribute("aria-busy", "true");
  if (!view.querySelector(".card")) view.replaceChildren(skeletons());
}

function finish(content, said, title) {
  view.removeAttribute("aria-busy");
  view.replaceChildren(content);
  status.textContent = said;
  document.title = title ? `${title} · sage` : "sage";
}

function focusOn(fields) {
  const card = opened && [...view.querySelectorAll("a.card")].find((one) => one.dataset.id === opened);
  if (card && location.hash === listHash) card.focus();
  else if (!fields.has("q")) view.querySelector("h1")?.focus({ preventScroll: true });
}

/** What a view shows, says and is called. */
async function made(fields, signal) {
  if (fields.has("similar")) return product(fields.get("similar"), signal);
  if (fields.has("user")) return oneUser(fields.get("user"), Number(fields.get("seed")) || 0, signal);
  if (fields.has("users")) return everyone();
  const text = fields.get("q")?.trim() ?? "";
  if (field !== document.activeElement) field.value = text;
  if (!about.models.length) throw new api.ApiError("No model that texts can be asked of is served.", 404);
  if (!text) return start(signal);
  return found(text, Math.min(Number(fields.get("k")) || PAGE, MOST), signal);
}

async function start(signal) {
  const { name, examples } = model();
  const inputs = { query: examples, k: 12 }; // the first four with pictures are shown
  const lists = examples.length ? await api.predict(name, "search", inputs, signal) : [];
  const made = lists.map((list, row) => ({ text: examples[row], ids: list.map((one) => one.id) }));
  const shown = await known(made.flatMap((one) => one.ids), signal);
  return { content: views.start(about.num_products, made, shown), said: "", title: "" };
}

async function found(text, k, signal) {
  const began = performance.now();
  const [list] = await api.predict(model().name, "search", { query: [text], k }, signal);
  const took = Math.round(performance.now() - began);
  const more = () => {
    history.replaceState(null, "", hashOf({ q: text, k: Math.min(2 * k, MOST) }));
    show();
  };
  return {
    content: views.results(list, await products(list, signal), list.length === k && k < MOST ? more : null),
    said: list.length ? `${counted(list.length, "product")} for “${text}” in ${took} ms` : `No products for “${text}”`,
    title: text,
  };
}

async function product(id, signal) {
  const itself = (await known([id], signal)).get(id);
  if (itself === null) {
    return { content: views.unknown(id), said: "No such product", title: "No such product" };
  }
  const others = await likeIt(id, signal);
  return {
    content: views.similar(id, itself ?? null, others, await products(others, signal), listHash),
    said: counted(others.length, "similar product"),
    title: itself?.title ?? id,
  };
}

async function likeIt(id, signal) {
  if (!model()?.similar) return [];
  try {
    return (await api.predict(model().name, "similar", { product_id: [id], k: PAGE }, signal))[0];
  } catch (error) {
    // The model does not know it: the tables may be newer.
    if (error.status === 400 && about.num_products !== null) return [];
    throw error;
  }
}

function everyone() {
  const choose = async (part) => {
    clearTimeout(timer);
    timer = setTimeout(() => list(part), DEBOUNCE_MS);
  };
  const list = async (part) => {
    under.abort();
    const mine = (under = new AbortController());
    try {
      const { users, num_users: count } = await api.users(part, mine.signal);
      const shown = await known(users.flatMap((one) => one.medoid_ids), mine.signal);
      if (mine.signal.aborted) return;
      document.getElementById("tiles").replaceChildren(views.tiles(users, part, shown));
      status.textContent = `${counted(count, "user")}${users.length < count ? `, the first ${users.length} shown` : ""}`;
    } catch (error) {
      if (mine.signal.aborted) return;
      if (!(error instanceof api.ApiError)) throw error;
      fail(error);
    }
  };
  return { content: views.people(choose), said: "", title: "Users", after: () => list("") };
}

async function oneUser(id, seed, signal) {
  const told = await api.user(id, seed, signal);
  const ids = told.rows.flatMap((row) => row.items.map((item) => item.item_id));
  const shown = await known([...told.clusters.map((one) => one.medoid_id), ...ids], signal);
  return {
    content: views.user(told, shown, seed),
    said: told.known ? counted(ids.length, "recommendation") : `User ${id} is not known`,
    title: `User ${id}`,
  };
}

const products = (list, signal) => known(list.map((one) => one.id), signal);

/** Titles and fields, where the server has them. */
const known = (ids, signal) =>
  about.num_products === null ? Promise.resolve(new Map()) : api.products(ids, signal);

/** What is served, asked once. */
async function prepared(signal) {
  const told = await api.about(signal);
  peopleLink.hidden = told.num_users === null;
  chooser.replaceChildren(...told.models.map((one) => element("option", { value: one.name }, one.name)));
  chooser.hidden = told.models.length < 2;
  const first = told.models.find((one) => one.name === "retrieval") ?? told.models[0];
  if (first) chooser.value = first.name;
  footer.textContent = told.models.map((one) => `${one.name}, version ${one.version}`).join(" · ");
  return told;
}

/** Goes to a view that is being typed: one entry of the history for a whole search. */
function type() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const text = field.value.trim();
    const hash = text ? hashOf({ q: text }) : "#";
    if (hash === (location.hash || "#")) return;
    const goOn = state().has("q");
    history[goOn ? "replaceState" : "pushState"](null, "", hash);
    listHash = hash;
    show();
  }, DEBOUNCE_MS);
}

function back() {
  if (state().has("similar") || state().has("user")) location.hash = listHash;
  else {
    field.focus();
    field.select();
  }
}

field.addEventListener("input", type);
field.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !field.value) return;
  event.preventDefault();
  field.value = "";
  type();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  type();
});
chooser.addEventListener("change", () => show());
view.addEventListener("click", (event) => {
  const card = event.target.closest("a.card");
  if (card) opened = card.dataset.id;
});
window.addEventListener("hashchange", () => {
  const fields = state();
  if (!fields.has("similar") && !fields.has("user")) listHash = location.hash || "#";
  if (!fields.has("q")) field.value = "";
  show(true);
});
listenToKeys(field, view, back);
if (state().has("q")) field.value = state().get("q");
if (!state().has("similar") && !state().has("user")) listHash = location.hash || "#";
if (!matchMedia("(pointer: coarse)").matches && (!location.hash || state().has("q"))) field.focus();
show();
