// The points of a chart: details where one is pointed at or focused, and arrow keys between them.

const details = document.getElementById("details");

let shown = null;

function showDetails(element, lines) {
  shown = { element, lines };
  const [name, ...rest] = lines;
  details.replaceChildren(make("strong", {}, name), ...rest.map((line) => make("span", {}, line)));
  details.hidden = false;
  const sign = element.querySelector(".marker") ?? element;
  const point = sign.getBoundingClientRect();
  const box = details.getBoundingClientRect();
  const room = document.documentElement.clientWidth - box.width - 8;
  const above = point.top - box.height - 10;
  details.style.left = `${Math.max(8, Math.min(point.left + point.width / 2 - box.width / 2, room))}px`;
  details.style.top = `${above > 4 ? above : point.bottom + 10}px`;
}

function hideDetails() {
  shown = null;
  details.hidden = true;
}

/** Return a group that shows these lines, and says them to who can't see. */
function point(slug, lines, ...children) {
  const group = draw(
    "g",
    {
      class: "point",
      role: "button",
      tabindex: "-1",
      "aria-label": lines.join(". "),
      "aria-pressed": String(kept.has(slug)),
    },
    ...children,
  );
  lightsUp(group, slug);
  group.addEventListener("pointerenter", () => showDetails(group, lines));
  group.addEventListener("pointerleave", hideDetails);
  group.addEventListener("focus", () => showDetails(group, lines));
  group.addEventListener("blur", hideDetails);
  group.addEventListener("click", () => keep(slug));
  return group;
}

/** Let the arrow keys go from point to point, in this order; the tab key reaches the first. */
function walkable(points) {
  points[0]?.setAttribute("tabindex", "0");
  for (const [n, element] of points.entries()) {
    element.addEventListener("keydown", (event) => {
      const to = {
        ArrowRight: n + 1,
        ArrowDown: n + 1,
        ArrowLeft: n - 1,
        ArrowUp: n - 1,
        Home: 0,
        End: points.length - 1,
      }[event.key];
      if (event.key === "Enter" || event.key === " ") keep(element.dataset.method);
      else if (to === undefined || !points[to]) return;
      else {
        for (const other of points) other.setAttribute("tabindex", "-1");
        points[to].setAttribute("tabindex", "0");
        points[to].focus();
      }
      event.preventDefault();
    });
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideDetails();
});
// Focus may bring a point into view by scrolling, and then its details go along.
document.addEventListener(
  "scroll",
  () => {
    if (shown !== null && shown.element.contains(document.activeElement))
      showDetails(shown.element, shown.lines);
    else hideDetails();
  },
  { passive: true },
);
