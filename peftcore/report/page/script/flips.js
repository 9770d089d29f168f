// The examples on which a method and Full differ with most seeds. A report has no texts of a data
// set, so examples go by their rows.

const FLIPS_AT_FIRST = 25;

function fillFlips(everything) {
  const found = data.flips.find((one) => one.slug === document.getElementById("flip-method").value);
  const examples = found[document.getElementById("flip-kind").value];
  const shown = everything ? examples : examples.slice(0, FLIPS_AT_FIRST);
  const heads = ["Place in the test sample", "Row in the test file", "Label",
    `Full right, of ${found.seeds}`, `It right, of ${found.seeds}`];
  const number = (content) => make("td", { class: "number" }, content === null ? "—" : String(content));
  document.getElementById("flip-table").replaceChildren(
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", class: "number" }, head)))),
    make("tbody", {}, ...shown.map(([example, row, label, full, own]) =>
      make("tr", {}, number(example), number(row), number(found.classes[label] ?? label), number(full), number(own)))),
  );
  document.getElementById("flip-count").textContent =
    shown.length === examples.length ? `${examples.length} examples` : `${shown.length} of ${examples.length} examples`;
  document.getElementById("flip-more").hidden = shown.length === examples.length;
}

if (document.getElementById("flipped")) {
  const select = document.getElementById("flip-method");
  for (const one of data.flips) select.append(make("option", { value: one.slug }, methods.get(one.slug).name));
  select.addEventListener("change", () => fillFlips(false));
  document.getElementById("flip-kind").addEventListener("change", () => fillFlips(false));
  document.getElementById("flip-more").addEventListener("click", () => fillFlips(true));
  fillFlips(false);
}
