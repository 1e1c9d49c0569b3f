// What each view shows, from answers that are there already.

import { cards, collage, picture, titleOf } from "./cards.js";
import { counted, element, hashOf, written } from "./dom.js";

const WORDS = { product_type: "Type", google_product_category: "Category", size_type: "Size type" };
const HIDDEN = ["description", "link", "link_domain"];

/** A heading that takes the focus when its view opens. */
const heading = (text) => element("h1", { tabIndex: -1 }, text);

function button(text, action) {
  const made = element("button", { type: "button", class: "more" }, text);
  made.addEventListener("click", action);
  return made;
}

const note = (title, text, ...more) =>
  element("div", { class: "note" }, element("h1", { tabIndex: -1 }, title), element("p", {}, text), ...more);

/**
 * The start: what can be done here.
 * @param {?number} count of products, where it is known
 * @param {{text: string, ids: string[]}[]} examples searches and what they find
 */
export function start(count, examples, products) {
  const tiles = [], chips = [];
  for (const { text, ids } of examples) {
    const href = hashOf({ q: text });
    const pictured = ids.filter((id) => products.get(id)?.picture);
    if (pictured.length) tiles.push(collage(href, text, pictured, products));
    else chips.push(element("li", {}, element("a", { class: "chip", href }, text)));
  }
  return element(
    "div",
    { class: "start" },
    heading(`Search ${count === null ? "products" : counted(count, "product")}`),
    element("p", {}, "Describe what you are looking for, in your own words."),
    chips.length ? element("ul", { class: "chips", "aria-label": "Examples" }, ...chips) : null,
    tiles.length ? element("ul", { class: "grid", "aria-label": "Examples" }, ...tiles) : null,
  );
}

/** Results of a search; `more` is what a button for more does, null where there is no more. */
export function results(found, products, more) {
  if (!found.length) return note("Nothing found", "No product answers this. Try other words.");
  return element("div", {}, cards(found, products), more && button("Show more", more));
}

/** A product and those like it. */
export function similar(id, product, found, products, backHref) {
  return element(
    "div",
    {},
    element("a", { class: "back", href: backHref }, "Back"),
    element("article", { class: "product" }, picture(id, product), facts(id, product)),
    element("h2", {}, "Similar products"),
    found.length
      ? cards(found, products)
      : element("p", { class: "quiet" }, "The model that answers does not know this product."),
  );
}

function facts(id, product) {
  const fields = Object.entries(product?.fields ?? {}).filter(([name]) => !HIDDEN.includes(name));
  const list = [["id", id], ...fields].map(([name, value]) =>
    element("div", {}, element("dt", {}, wordOf(name)), element("dd", {}, value)),
  );
  const description = product?.fields.description;
  return element(
    "div",
    {},
    heading(titleOf(id, product)),
    description ? element("p", {}, description) : null,
    element("dl", {}, ...list),
    shopLink(product?.fields.link),
  );
}

const wordOf = (name) => WORDS[name] ?? name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

/** A link to the shop; only to the web, whatever the table says. */
function shopLink(text) {
  const url = text && URL.canParse(text) ? new URL(text) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) return null;
  return element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, url.hostname);
}

/** Instead of a product that is not there. */
export const unknown = (id) =>
  note("No such product", `The catalogue has no product with the id “${id}”.`,
    element("a", { class: "chip", href: "#" }, "Search"));

/** Users to choose from; `onPart` is told what their ids must contain. */
export function people(onPart) {
  const field = element("input", {
    type: "search", id: "part", placeholder: "Find a user by id", autocomplete: "off", maxLength: 200,
  });
  field.addEventListener("input", () => onPart(field.value.trim()));
  return element(
    "div",
    {},
    heading("Users"),
    element("p", { class: "lead" }, "Each with the products that stand for their interests."),
    element("label", { class: "unseen", htmlFor: "part" }, "Find a user by id"),
    field,
    element("div", { id: "tiles" }),
  );
}

/** Tiles of users, or a way to one that the list does not have. */
export function tiles(users, part, products) {
  if (users.length) {
    const words = (one) =>
      `${counted(one.num_clusters, "interest")} · ${counted(one.num_actions, "action")}`;
    const made = users.map((one) =>
      collage(hashOf({ user: one.user_id }), one.user_id, one.medoid_ids, products, words(one)));
    return element("ul", { class: "grid" }, ...made);
  }
  return element(
    "div",
    { class: "note" },
    element("p", {}, `No user of the last batch has “${part}” in their id.`),
    element("a", { class: "chip", href: hashOf({ user: part }) }, `Open ${part} all the same`),
  );
}

/** A user: their clusters, and recommendations by the medoid that they are from. */
export function user(told, products, seed) {
  const again = hashOf({ user: told.user_id, seed: seed + 1 });
  const drawn = told.clusters.filter((one) => one.drawn).length;
  const text = told.clusters.length
    ? `${counted(told.clusters.length, "interest")}; these recommendations are for ${written(drawn)} of them, drawn by importance.`
    : told.known
      ? "Nothing that this user did is in the catalogue any more, so these are what most users like."
      : "Nothing is known of this user yet, so these are what most users like.";
  return element(
    "div",
    {},
    element("a", { class: "back", href: "#users" }, "All users"),
    heading(`User ${told.user_id}`),
    element("p", { class: "lead" }, text),
    told.clusters.length ? clusters(told.clusters, products) : null,
    element(
      "div",
      { class: "bar-of-words" },
      element("h2", {}, "Recommendations"),
      told.source === "medoids" ? element("a", { class: "chip", href: again }, "Draw again") : null,
    ),
    ...told.rows.map((row) => recommendations(row, products)),
    told.rows.length ? null : element("p", { class: "quiet" }, "None are left to recommend."),
  );
}

function clusters(found, products) {
  const most = Math.max(...found.map((one) => one.importance));
  const drawnFirst = found.toSorted((a, b) => Number(b.drawn) - Number(a.drawn));
  const made = drawnFirst.map((one) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
    bar.firstChild.style.setProperty("--share", most > 0 ? one.importance / most : 0);
    const product = products.get(one.medoid_id) ?? null;
    return element(
      "li",
      {},
      element(
        "a",
        { class: "card cluster", href: hashOf({ similar: one.medoid_id }), "data-id": one.medoid_id },
        picture(one.medoid_id, product),
        element("span", { class: "title" }, titleOf(one.medoid_id, product)),
        one.drawn ? element("span", { class: "pill" }, "drawn") : null,
        element("span", { class: "details" }, counted(one.size, "action")),
        element("span", { class: "score" }, bar,
          element("span", { class: "unseen" }, "importance "), written(one.importance)),
      ),
    );
  });
  return element("ul", { class: "track clusters", "aria-label": "Interests" }, ...made);
}

function recommendations(row, products) {
  const found = row.items.map((one) => ({ id: one.item_id, score: one.score }));
  const track = cards(found, products, "track");
  if (row.medoid_id === null) {
    track.setAttribute("aria-label", "Popular");
    return element("section", {}, element("h3", {}, "Popular with other users"), track);
  }
  const product = products.get(row.medoid_id) ?? null;
  const title = titleOf(row.medoid_id, product);
  track.setAttribute("aria-label", `Because of ${title}`);
  return element(
    "section",
    { "data-medoid": row.medoid_id },
    element("h3", {}, picture(row.medoid_id, product),
      element("span", {}, element("small", {}, "Because of"), title)),
    track,
  );
}

/** Asks for the token of a server that wants one; `use` is told it. */
export function tokenNeeded(use) {
  const field = element("input", {
    type: "password", id: "token", autocomplete: "off", required: true, maxLength: 1000,
  });
  const form = element(
    "form",
    {},
    element("label", { class: "unseen", htmlFor: "token" }, "Token"),
    field,
    element("button", { type: "submit", class: "more" }, "Go on"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    use(field.value.trim());
  });
  return note("A token is needed", "This server answers those who have its token.", form);
}

/** What went wrong, and a way to try again. */
export function failure(error, retry) {
  const title = { 0: "No connection", 429: "Not just now", 503: "Not just now" }[error.status];
  const text = error.status ? error.message : `${error.message} Is it running, and can it be reached?`;
  return note(title ?? "That did not work", text, button("Try again", retry));
}
