// The keyboard: arrows between cards, `/` to the search field, Escape back.

const FORWARD = { ArrowRight: 1, ArrowLeft: -1 };
const VERTICAL = { ArrowDown: 1, ArrowUp: -1 };

/**
 * @param {HTMLInputElement} field the search field
 * @param {HTMLElement} view where cards are
 * @param {function(): void} back what Escape does outside of the field
 */
export function listenToKeys(field, view, back) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "/" && !isTyping()) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "Escape" && document.activeElement !== field) {
      event.preventDefault();
      back();
    } else if (move(event.key, field, view)) {
      event.preventDefault();
    }
  });
}

const isTyping = () => document.activeElement?.matches("input, select, textarea");

function move(key, field, view) {
  const focused = document.activeElement;
  const links = [...view.querySelectorAll("a.card")];
  const place = links.indexOf(focused);
  if (place < 0) {
    const enters = key === "ArrowDown" && focused?.matches("input") && links.length > 0;
    if (enters) links[0].focus();
    return enters;
  }
  const next =
    (key in FORWARD && links[place + FORWARD[key]]) ||
    (key in VERTICAL && neighbour(focused, links, VERTICAL[key])) ||
    (key === "Home" && links[0]) ||
    (key === "End" && links.at(-1));
  if (next) next.focus();
  else if (key === "ArrowUp") field.focus();
  return Boolean(next) || key in FORWARD || key in VERTICAL;
}

/** The card that is nearest above or below. */
function neighbour(focused, links, direction) {
  const box = focused.getBoundingClientRect();
  const rows = links
    .map((link) => ({ link, box: link.getBoundingClientRect() }))
    .filter((one) => direction * (one.box.top - box.top) > box.height / 2);
  const nearest = Math.min(...rows.map((one) => direction * one.box.top));
  const beside = rows.filter((one) => direction * one.box.top < nearest + box.height / 2);
  beside.sort((a, b) => Math.abs(a.box.left - box.left) - Math.abs(b.box.left - box.left));
  return beside[0]?.link;
}
