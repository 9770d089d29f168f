// What every other part uses: the data, and elements made of text alone. Nothing here or below
// reads text as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const methods = new Map(data.methods.map((method) => [method.slug, method]));
const metrics = new Map(data.metrics.map((metric) => [metric.key, metric]));

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Return an HTML element; children are elements, or strings that become text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an SVG element, likewise. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Return a number as the report writes it: grouped, with a true minus. */
function written(number, digits) {
  const text = Math.abs(number).toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return number < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/** Return names as a list in a sentence. */
function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** Return a label as it stands within a sentence. */
function inSentence(label) {
  return /^[A-Z][a-z]/.test(label) ? label[0].toLowerCase() + label.slice(1) : label;
}

/** Return a number without zeros that say nothing. */
function plainNumber(number) {
  return String(Number(number.toPrecision(6)));
}

/** Return a method's number as it is shown, with its unit before a mark. */
function withUnit(method, key) {
  const [, number, mark] = /^(.*?)( ◊)?$/.exec(value(method, key).text);
  return `${number} ${metrics.get(key).unit}${mark ?? ""}`;
}

/** Return a method's accuracy without its interval. */
function percent(method) {
  return `${value(method, "accuracy").text.split(" ")[0]}%`;
}

function value(method, key) {
  return method.values[key] ?? null;
}

function mean(method, key) {
  return method.values[key]?.mean ?? null;
}

for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
