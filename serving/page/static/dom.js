// Elements. Whatever comes from the server becomes text nodes and properties, never markup.

/**
 * Makes an element.
 * @param {string} tag
 * @param {Object<string, *>} properties of the element; `class`, `role`, `aria-*` and `data-*` are
 *   attributes
 * @param {...(Node|string|null)} children strings become text nodes, null is left out
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(class|role|aria-|data-)/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const whole = new Intl.NumberFormat("en");
const broken = new Intl.NumberFormat("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });

/** A number as people read it: 1,204 or 0.830. */
export const written = (value) => (Number.isInteger(value) ? whole : broken).format(value);

/** "1 product", "24 products". */
export const counted = (count, word) => `${written(count)} ${word}${count === 1 ? "" : "s"}`;

/** The hash of a view: `hashOf({ q: "red sofa" })` is `#q=red+sofa`. */
export const hashOf = (fields) => `#${new URLSearchParams(fields)}`;
