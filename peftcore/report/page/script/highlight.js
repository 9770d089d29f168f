// One method in every chart and in the table: pointed at for a moment, or pressed to be kept.

const kept = new Set();
let pointedAt = null;

/** Show which methods stand out, in all that carries a method. */
function showHighlight() {
  const chosen = pointedAt === null ? kept : new Set([...kept, pointedAt]);
  for (const element of document.querySelectorAll("[data-method]")) {
    const on = chosen.has(element.dataset.method);
    element.classList.toggle("on", on);
    element.classList.toggle("off", chosen.size > 0 && !on);
  }
  for (const button of document.querySelectorAll(".legend button, .point")) {
    button.setAttribute("aria-pressed", String(kept.has(button.dataset.method)));
  }
}

function pointAt(slug) {
  if (pointedAt === slug) return;
  pointedAt = slug;
  showHighlight();
}

function keep(slug) {
  if (!kept.delete(slug)) kept.add(slug);
  showHighlight();
}

/** Make an element light up its method when it is pointed at or focused. */
function lightsUp(element, slug) {
  element.dataset.method = slug;
  element.addEventListener("pointerenter", () => pointAt(slug));
  element.addEventListener("pointerleave", () => pointAt(null));
  element.addEventListener("focus", () => pointAt(slug));
  element.addEventListener("blur", () => pointAt(null));
}

for (const row of rowsAsReported) lightsUp(row, row.dataset.method);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  // In a field, Escape empties it or closes its list.
  if (event.target.closest("input:not([type=checkbox]), select")) return;
  kept.clear();
  pointAt(null);
  showHighlight();
});
