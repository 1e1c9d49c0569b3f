// Products as pictures with words.

import { showImage } from "./api.js";
import { counted, element, hashOf, written } from "./dom.js";

/** What a product is called. */
export const titleOf = (id, product) => product?.title || id;

/** The picture of a product, or a quiet sign in its place. */
export function picture(id, product) {
  const frame = element("span", { class: "picture" });
  const sign = () =>
    frame.replaceChildren(
      element("span", { class: "sign", "aria-hidden": "true" }, initials(titleOf(id, product))),
    );
  if (!product?.picture) {
    sign();
    return frame;
  }
  const image = element("img", { alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("load", () => frame.classList.add("shown"));
  image.addEventListener("error", sign);
  showImage(image, id);
  frame.append(image);
  return frame;
}

function initials(title) {
  const words = title.match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

/** A few words below the title: what it does not say itself. */
function details(product) {
  const title = product?.title?.toLowerCase() ?? "";
  const words = ["brand", "product_type", "color"].map((name) => product?.fields[name]);
  return words.filter((word) => word && !title.includes(word.toLowerCase())).slice(0, 2);
}

/**
 * A product that opens similar ones.
 * @param {{id: string, score: number}} found
 * @param {?Object} product what is known of it
 * @param {number} best the highest score beside it, for the length of its bar
 */
export function card(found, product, best) {
  const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
  const share = best > 0 ? Math.max(0, Math.min(1, found.score / best)) : 0;
  bar.firstChild.style.setProperty("--share", share);
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href: hashOf({ similar: found.id }), "data-id": found.id },
      picture(found.id, product),
      element("span", { class: "title" }, titleOf(found.id, product)),
      element("span", { class: "details" }, details(product).join(" · ")),
      element(
        "span",
        { class: "score" },
        bar,
        element("span", { class: "unseen" }, "score "),
        written(found.score),
      ),
    ),
  );
}

/** A list of cards. */
export function cards(found, products, kind = "grid") {
  const best = Math.max(...found.map((one) => one.score), 0);
  const made = found.map((one) => card(one, products.get(one.id) ?? null, best));
  return element("ul", { class: kind }, ...made);
}

/** Cards without content, while the first answer is on its way. */
export function skeletons(count = 12) {
  const one = () =>
    element("li", {}, element("span", { class: "card" }, element("span", { class: "picture" })));
  return element("ul", { class: "grid skeletons", "aria-hidden": "true" },
    ...Array.from({ length: count }, one));
}

/**
 * A link with up to four pictures.
 * @param {string} href
 * @param {string} title
 * @param {string[]} ids of the products in the pictures
 * @param {Map<string, ?Object>} products what is known of them
 * @param {?string} details words below
 */
export function collage(href, title, ids, products, details = null) {
  const pictures = ids.slice(0, 4).map((id) => picture(id, products.get(id) ?? null));
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href, "data-id": title },
      element("span", { class: `collage of-${pictures.length}` }, ...pictures),
      element("span", { class: "title" }, title),
      details === null ? null : element("span", { class: "details" }, details),
    ),
  );
}
