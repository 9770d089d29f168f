// Charts: a method's marker, axes, and the room that they are drawn in.

const FONT = 12;

// matplotlib's markers, as corners on a circle: how many, and where the first one points.
const CORNERS = {
  s: [4, 45],
  "^": [3, -90],
  D: [4, 0],
  v: [3, 90],
  "<": [3, 180],
  ">": [3, 0],
  p: [5, -90],
  h: [6, -90],
  8: [8, 22.5],
};

function corners(count, first, radius, inner = 1) {
  const points = [];
  const all = inner === 1 ? count : 2 * count;
  for (let n = 0; n < all; n += 1) {
    const angle = ((first + (360 * n) / all) * Math.PI) / 180;
    const reach = radius * (n % 2 && inner !== 1 ? inner : 1);
    points.push(`${(reach * Math.cos(angle)).toFixed(2)},${(reach * Math.sin(angle)).toFixed(2)}`);
  }
  return points.join(" ");
}

/** Return a cross with arms as thick as a third of it, upright or turned. */
function cross(radius, turned) {
  const t = radius / 3;
  const r = radius;
  const points = [
    [-t, -r],
    [t, -r],
    [t, -t],
    [r, -t],
    [r, t],
    [t, t],
    [t, r],
    [-t, r],
    [-t, t],
    [-r, t],
    [-r, -t],
    [-t, -t],
  ];
  const angle = turned ? Math.PI / 4 : 0;
  return points
    .map(([x, y]) => [
      x * Math.cos(angle) - y * Math.sin(angle),
      x * Math.sin(angle) + y * Math.cos(angle),
    ])
    .map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`)
    .join(" ");
}

/** Return a method's marker around the origin; those of reference rows are hollow. */
function marker(method, radius = 5.5) {
  const { marker: shape, colour } = method.look;
  const look = method.reference ? { class: "marker hollow" } : { class: "marker", fill: colour };
  if (shape === "o") return draw("circle", { r: radius, ...look });
  if (shape === "P" || shape === "X") {
    return draw("polygon", { points: cross(radius * 1.15, shape === "X"), ...look });
  }
  if (shape === "*")
    return draw("polygon", { points: corners(5, -90, radius * 1.4, 0.45), ...look });
  const [count, first] = CORNERS[shape] ?? CORNERS.s;
  return draw("polygon", { points: corners(count, first, radius * 1.2), ...look });
}

/** Return numbers that mark an axis, some `count` of them; whole ones where others mean nothing. */
function ticks(low, high, count, whole) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const fine = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const step = whole ? Math.max(Math.ceil(fine), 1) : fine;
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + 1e-9 * step; n += 1) found.push(n * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** Return a number with k, M or B for thousands, millions and thousand millions. */
function short(number) {
  for (const [size, letter] of [
    [1e9, " B"],
    [1e6, " M"],
    [1e3, " k"],
  ]) {
    if (number >= size) return `${Number((number / size).toPrecision(3))}${letter}`;
  }
  return String(Number(number.toPrecision(3)));
}

/** Return the place of numbers on an axis in pixels, and its marks. */
function axis({ low, high, from, to, count, logarithmic = false, whole = false }) {
  const f = logarithmic ? Math.log10 : (number) => number;
  const at = (number) => from + ((f(number) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
  if (!logarithmic) {
    const { found, digits } = ticks(low, high, count, whole);
    const big = Math.max(...found.map(Math.abs)) >= 10000;
    return { at, marks: found.map((x) => [at(x), big ? short(x) : written(x, digits)]) };
  }
  const marks = [];
  const powers = Math.log10(high / low);
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const times of powers > 2.5 ? [1] : powers > 1.2 ? [1, 3] : [1, 2, 5]) {
      const x = times * 10 ** power;
      if (x >= low && x <= high) marks.push([at(x), short(x)]);
    }
  }
  return { at, marks };
}

/** Return an empty chart as wide as its place, with its axes drawn. */
function chart(place, { height, label, x, y, xLabel, yLabel = null }) {
  const width = Math.max(place.clientWidth, 260);
  const edges = { left: 46, right: 12, top: yLabel ? 24 : 10, bottom: 40 };
  const svg = draw("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-label": label,
  });
  const across = axis({ ...x, from: edges.left, to: width - edges.right, count: width / 90 });
  const up = axis({ ...y, from: height - edges.bottom, to: edges.top, count: height / 60 });
  const frame = draw("g", { class: "frame", "aria-hidden": "true" });
  for (const [pixels, text] of up.marks) {
    frame.append(
      draw("line", {
        class: "grid",
        x1: edges.left,
        x2: width - edges.right,
        y1: pixels,
        y2: pixels,
      }),
      draw("text", { x: edges.left - 8, y: pixels + FONT / 3, "text-anchor": "end" }, text),
    );
  }
  const bottom = height - edges.bottom;
  for (const [pixels, text] of across.marks) {
    frame.append(
      draw("line", { class: "tick", x1: pixels, x2: pixels, y1: bottom, y2: bottom + 4 }),
      draw("text", { x: pixels, y: bottom + 18, "text-anchor": "middle" }, text),
    );
  }
  frame.append(
    draw("line", {
      class: "axis",
      x1: edges.left,
      x2: width - edges.right,
      y1: bottom,
      y2: bottom,
    }),
  );
  frame.append(
    draw("text", { x: width - edges.right, y: height - 4, "text-anchor": "end" }, xLabel),
  );
  if (yLabel) frame.append(draw("text", { x: 4, y: FONT }, yLabel));
  svg.append(frame);
  place.replaceChildren(svg);
  return { svg, width, height, edges, x: across.at, y: up.at };
}

/** Fill each legend with a button a method. */
function fillLegends() {
  for (const legend of document.querySelectorAll(".legend")) {
    const curves = legend.closest("#curves");
    const shown = data.methods.filter((method) =>
      curves
        ? data.losses.some((curve) => curve.slug === method.slug)
        : mean(method, "accuracy") !== null && method.slug !== data.bagOfWords,
    );
    for (const method of shown) {
      const sign = draw(
        "svg",
        {
          width: curves ? 30 : 16,
          height: 16,
          viewBox: curves ? "-15 -8 30 16" : "-8 -8 16 16",
          "aria-hidden": "true",
        },
        curves ? draw("line", { x1: -15, x2: 15, y1: 0, y2: 0, ...lineLook(method) }) : null,
        marker(method),
      );
      const button = make("button", { type: "button", "aria-pressed": "false" }, sign, method.name);
      lightsUp(button, method.slug);
      button.addEventListener("click", () => keep(method.slug));
      legend.append(button);
    }
    legend.setAttribute("role", "group");
  }
}

function lineLook(method) {
  const width = 1.8;
  return {
    class: method.reference ? "curve plain" : "curve",
    color: method.reference ? null : method.look.colour,
    "stroke-width": width,
    "stroke-dasharray": method.look.dashes.map((part) => part * width).join(" ") || null,
  };
}

fillLegends();

const drawings = [];

/** Draw now, and again whenever the window has another width. */
function keepDrawn(redraw) {
  drawings.push(redraw);
  redraw();
}

/** Return what gives the focus back to the point that has it, once charts were drawn anew. */
function rememberFocus() {
  const focused = document.activeElement?.closest?.(".point") ?? null;
  if (focused === null) return () => {};
  const figure = focused.closest("figure");
  const slug = focused.dataset.method;
  const points = () => [...figure.querySelectorAll(".point")];
  const own = () => points().filter((one) => one.dataset.method === slug);
  const place = own().indexOf(focused);
  return () => {
    const again = own()[place];
    if (!again) return;
    for (const other of points()) other.setAttribute("tabindex", other === again ? "0" : "-1");
    again.focus({ preventScroll: true });
  };
}

function drawAll() {
  const focusAgain = rememberFocus();
  for (const redraw of drawings) redraw();
  focusAgain();
  showHighlight();
}

let lastWidth = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth === lastWidth) return;
  lastWidth = document.documentElement.clientWidth;
  drawAll();
});
