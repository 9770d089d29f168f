// The table of methods, which is there without any script: sorted, filtered, by columns.

const table = document.getElementById("table");
const body = table.tBodies[0];
const rowsAsReported = [...body.rows];
const headings = [...table.tHead.rows[0].cells];

// A heading is pressed for the best first, again for the worst first, again for the report's order.
let sorting = { column: -1, ascending: true };

function sortKey(row, column) {
  const text = row.cells[column]?.dataset.value;
  if (text === undefined) return null;
  return column === 0 ? text.toLowerCase() : Number(text);
}

function compareRows(first, second) {
  const [a, b] = [first, second].map((row) => sortKey(row, sorting.column));
  // What was not measured comes last, whichever way.
  if (a === null || b === null) return (a === null) - (b === null);
  const order = a < b ? -1 : Number(a > b);
  return sorting.ascending ? order : -order;
}

function sortBy(column) {
  const lowestFirst = headings[column].dataset.better === "lower";
  if (sorting.column !== column) sorting = { column, ascending: lowestFirst };
  else if (sorting.ascending === lowestFirst) sorting = { column, ascending: !lowestFirst };
  else sorting = { column: -1, ascending: true };
  for (const [n, heading] of headings.entries()) {
    if (n === sorting.column) {
      heading.setAttribute("aria-sort", sorting.ascending ? "ascending" : "descending");
    } else heading.removeAttribute("aria-sort");
  }
  const rows = sorting.column < 0 ? rowsAsReported : rowsAsReported.toSorted(compareRows);
  body.append(...rows);
}

function filterRows() {
  const wanted = document.getElementById("filter").value.trim().toLowerCase();
  const kind = document.getElementById("rows").value;
  let shown = 0;
  for (const row of rowsAsReported) {
    const { reference, level, finished } = row.dataset;
    const kept =
      kind === "all" ||
      (kind === "candidates" && reference === undefined) ||
      (kind === "level" && level !== undefined) ||
      (kind === "finished" && finished !== undefined);
    const named = row.cells[0].dataset.value.toLowerCase().includes(wanted);
    row.hidden = !(kept && named);
    shown += Number(!row.hidden);
  }
  document.getElementById("count").textContent =
    (shown === rowsAsReported.length ? `${shown}` : `${shown} of ${rowsAsReported.length}`) +
    (rowsAsReported.length === 1 ? " row" : " rows");
}

function chooseColumns() {
  const wanted = document.getElementById("columns").value;
  for (const cell of table.querySelectorAll("[data-group]")) {
    // Accuracy stays: nothing else means anything without it.
    const accuracy = cell.cellIndex === 2;
    cell.hidden = !(wanted === "all" || cell.dataset.group === wanted || accuracy);
  }
}

for (const [column, heading] of headings.entries()) {
  const button = make("button", { type: "button" }, heading.textContent);
  button.addEventListener("click", () => sortBy(column));
  heading.replaceChildren(button);
}
document.getElementById("filter").addEventListener("input", filterRows);
document.getElementById("rows").addEventListener("change", filterRows);
document.getElementById("columns").addEventListener("change", chooseColumns);
filterRows();
chooseColumns();
