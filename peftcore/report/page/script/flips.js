// The examples on which a method and Full differ with most seeds. A report has no texts of a data
// set, so examples go by their rows.

const FLIPS_AT_FIRST = 25;

function fillFlips(everything) {
  const found = data.flips.find((one) => one.slug === document.getElementById("flip-method").value);
  const examples = found[document.getElementById("flip-kind").value];
  const shown = everything ? examples : examples.slice(0, FLIPS_AT_FIRST);
  const heads = [
    "Place in the test sample",
    "Row in the test file",
    "Label",
    `Full right, of ${found.seeds}`,
    `It right, of ${found.seeds}`,
  ];
  const head = heads.map((text) => make("th", { scope: "col", class: "number" }, text));
  const body = shown.map(([example, row, label, full, own]) => {
    const cells = [example, row ?? "—", found.classes[label] ?? label, full, own];
    return make("tr", {}, ...cells.map((cell) => make("td", { class: "number" }, String(cell))));
  });
  const kind = document.getElementById("flip-kind").selectedOptions[0].text;
  document
    .getElementById("flip-table")
    .replaceChildren(
      make("caption", {}, `${methods.get(found.slug).name}: ${kind}`),
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...body),
    );
  const count = found.counts[document.getElementById("flip-kind").value];
  const elsewhere = everything && shown.length < count ? "; flips.csv has the others" : "";
  document.getElementById("flip-count").textContent =
    shown.length === count
      ? `${count} ${count === 1 ? "example" : "examples"}`
      : `${shown.length} of ${count} examples${elsewhere}`;
  document.getElementById("flip-more").hidden = shown.length === examples.length;
}

if (document.getElementById("flipped")) {
  const select = document.getElementById("flip-method");
  for (const one of data.flips)
    select.append(make("option", { value: one.slug }, methods.get(one.slug).name));
  select.addEventListener("change", () => fillFlips(false));
  document.getElementById("flip-kind").addEventListener("change", () => fillFlips(false));
  document.getElementById("flip-more").addEventListener("click", () => {
    fillFlips(true);
    // The button is gone: the table that it filled takes the focus.
    document.getElementById("flip-table").closest(".wide").focus();
  });
  fillFlips(false);
}
