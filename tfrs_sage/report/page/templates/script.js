"use strict";
(() => {
  // Print shows what is folded on the screen.
  const folded = () => [...document.querySelectorAll("details:not([open])")];
  let opened = [];
  addEventListener("beforeprint", () => { opened = folded(); opened.forEach(one => { one.open = true; }); });
  addEventListener("afterprint", () => { opened.forEach(one => { one.open = false; }); });

  const svg = document.getElementById("space"), data = document.getElementById("space-points");
  if (!svg || !data) return;
  const {points, side, size, columns} = JSON.parse(data.textContent);
  const hover = document.getElementById("hover"), ring = document.getElementById("space-ring");
  const [square, title, kind] = hover.children;
  const order = points.map((_, n) => n).sort((a, b) => points[a][0] - points[b][0]);
  let at = -1;

  const hide = () => { hover.hidden = true; at = -1; ring.setAttribute("cx", -20); };
  const show = n => {
    if (n === at) return;
    at = n;
    const [x, y, name, what, number] = points[n];
    title.textContent = name;
    kind.textContent = what === "other" ? "" : what;
    square.hidden = number < 0;
    square.style.backgroundPosition = `${-(number % columns) * side}px ${-Math.floor(number / columns) * side}px`;
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    hover.hidden = false;
    const box = svg.getBoundingClientRect(), scale = box.width / size;
    const left = Math.min(Math.max(8, box.left + x * scale + 14), innerWidth - hover.offsetWidth - 8);
    let top = box.top + y * scale + 14;
    if (top + hover.offsetHeight > innerHeight - 8) top = box.top + y * scale - hover.offsetHeight - 14;
    hover.style.transform = `translate(${left}px, ${Math.max(8, top)}px)`;
  };
  const nearest = event => {
    const box = svg.getBoundingClientRect(), scale = size / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    const reach = 24 * scale;
    let best = -1, least = reach * reach;
    points.forEach(([a, b], n) => {
      const far = (a - x) ** 2 + (b - y) ** 2;
      if (far < least) { least = far; best = n; }
    });
    if (best < 0) hide(); else show(best);
  };
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hide(); });
  svg.addEventListener("blur", hide);
  addEventListener("scroll", hide, {passive: true});
  svg.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const place = at < 0 ? (step > 0 ? -1 : 0) : order.indexOf(at);
    show(order[(place + step + order.length) % order.length]);
  });
})();
