// Accuracy against each cost, and the candidates that no other beats in both.

// Methods further below the best than so many points are left out until they are asked for, as far
// as that leaves most of them.
const NEAR_POINTS = [5, 10];
const MOST_OF_THEM = 0.75;
const LOGARITHMIC_FROM = 30; // Costs further apart than this factor get a logarithmic axis.

const bagOfWords = methods.get(data.bagOfWords) ?? null;
const measured = data.methods.filter(
  (method) => mean(method, "accuracy") !== null && method.slug !== data.bagOfWords,
);
const highest = Math.max(...measured.map((method) => mean(method, "accuracy")));
const under = (points) => measured.filter((method) => mean(method, "accuracy") < highest - points);
const nearPoints = NEAR_POINTS.find((n) => under(n).length <= (1 - MOST_OF_THEM) * measured.length);
const farBelow = nearPoints === undefined ? [] : under(nearPoints);
let everyMethod = farBelow.length === 0;

/** Return whether a chart of accuracy has this method. */
function isDrawn(method) {
  return everyMethod || !farBelow.includes(method);
}

function ends(method, key) {
  const { mean: middle, ends: known } = method.values[key];
  return known ?? [middle, middle];
}

/** Return the candidates that no other is cheaper and more accurate than, the cheapest first. */
function front(shown, key) {
  const beats = (other, method) => {
    const cheaper = mean(method, key) - mean(other, key);
    const better = mean(other, "accuracy") - mean(method, "accuracy");
    return cheaper >= 0 && better >= 0 && cheaper + better > 0;
  };
  const running = shown.filter((method) => !method.reference && !method.idle);
  return running
    .filter((method) => !running.some((other) => beats(other, method)))
    .toSorted((a, b) => mean(a, key) - mean(b, key));
}

/** Return what is said of a method in a chart, a line each. */
function pointLines(method, key, best, onFront) {
  const told = (name) => `${metrics.get(name).heading}: ${value(method, name).text}`;
  const lines = [method.name, told("accuracy"), told(key)];
  const paired = best && method.against[best];
  if (paired) lines.push(paired.words);
  if (onFront) lines.push("No other candidate is cheaper and as accurate, by the means");
  if (method.reference) return lines;
  // The front is one of candidates, so what beats it without being one is told beside it.
  for (const other of data.methods.filter((one) => one.reference && mean(one, key) !== null)) {
    if (
      mean(other, key) < mean(method, key) &&
      mean(other, "accuracy") !== null &&
      mean(other, "accuracy") >= mean(method, "accuracy")
    )
      lines.push(`${other.name} (reference) is cheaper and at least as accurate, by the means`);
  }
  return lines;
}

/** Write names beside points where there is room, those of the front first. */
function nameThem(canvas, placed, covered) {
  const taken = [...covered, ...placed.map(({ x, y }) => [x - 8, y - 8, x + 8, y + 8])];
  const free = (box) =>
    box[0] > canvas.edges.left &&
    box[2] < canvas.width - canvas.edges.right + 4 &&
    box[1] > 0 &&
    taken.every((o) => box[2] < o[0] || o[2] < box[0] || box[3] < o[1] || o[3] < box[1]);
  for (const { x, y, method, onFront } of placed.toSorted((a, b) => b.onFront - a.onFront)) {
    const width = method.name.length * 6.4;
    const places = [
      [10, 4, "start"],
      [-10, 4, "end"],
      [0, -12, "middle"],
      [0, 20, "middle"],
      [9, -9, "start"],
      [9, 17, "start"],
      [-9, -9, "end"],
      [-9, 17, "end"],
    ];
    for (const [right, down, anchor] of places) {
      const left = x + right - { start: 0, middle: width / 2, end: width }[anchor];
      const box = [left, y + down - 11, left + width, y + down + 2];
      if (!free(box)) continue;
      taken.push(box);
      const text = draw(
        "text",
        {
          class: onFront ? "name best" : "name",
          x: x + right,
          y: y + down,
          "text-anchor": anchor,
          "aria-hidden": "true",
        },
        method.name,
      );
      text.dataset.method = method.slug;
      canvas.svg.append(text);
      break;
    }
  }
}

/** Draw the bag of words' accuracy and return what its name covers, at the side with more room. */
function drawFloor(canvas, placed) {
  if (!bagOfWords || mean(bagOfWords, "accuracy") === null) return [];
  const { left, right } = canvas.edges;
  const y = canvas.y(mean(bagOfWords, "accuracy"));
  const text = `${bagOfWords.name}, ${percent(bagOfWords)}`;
  const width = text.length * 6.4;
  const boxes = [
    [left + 4, y - 16, left + 4 + width, y - 2],
    [canvas.width - right - width, y - 16, canvas.width - right, y - 2],
  ];
  const hidden = (box) =>
    placed.filter((p) => p.x > box[0] - 10 && p.x < box[2] + 10 && Math.abs(p.y - y + 8) < 20)
      .length;
  const side = hidden(boxes[0]) <= hidden(boxes[1]) ? 0 : 1;
  canvas.svg.append(
    draw("line", { class: "floor", x1: left, x2: canvas.width - right, y1: y, y2: y }),
    draw(
      "text",
      {
        class: "floor-name",
        x: side ? boxes[1][2] : boxes[0][0],
        y: y - 5,
        "text-anchor": side ? "end" : "start",
      },
      text,
    ),
  );
  return [boxes[side]];
}

function errorBars(canvas, method, key) {
  const [x, y] = [canvas.x(mean(method, key)), canvas.y(mean(method, "accuracy"))];
  const [left, right] = ends(method, key).map((end) => canvas.x(end));
  const [low, high] = ends(method, "accuracy").map((end) => canvas.y(end));
  const bar = (x1, y1, x2, y2) =>
    draw("line", {
      x1,
      y1,
      x2,
      y2,
      ...(method.reference
        ? { class: "error plain" }
        : { class: "error", color: method.look.colour }),
    });
  const bars = [];
  if (low !== high)
    bars.push(bar(x, low, x, high), bar(x - 3, low, x + 3, low), bar(x - 3, high, x + 3, high));
  if (left !== right)
    bars.push(
      bar(left, y, right, y),
      bar(left, y - 3, left, y + 3),
      bar(right, y - 3, right, y + 3),
    );
  return bars;
}

function drawFront(figure) {
  const key = figure.dataset.cost;
  const metric = metrics.get(key);
  const shown = measured.filter((method) => mean(method, key) !== null && isDrawn(method));
  const limits = shown.flatMap((method) => ends(method, "accuracy"));
  if (bagOfWords && mean(bagOfWords, "accuracy") !== null)
    limits.push(mean(bagOfWords, "accuracy"));
  const [low, high] = [Math.min(...limits), Math.max(...limits)];
  const air = Math.max(0.06 * (high - low), 0.5);
  const xs = shown.flatMap((method) => ends(method, key));
  const [least, most] = [Math.min(...shown.map((method) => mean(method, key))), Math.max(...xs)];
  const logarithmic = least > 0 && most / least > LOGARITHMIC_FROM;
  const best = data.best.qualified ?? data.best.all;
  const leading = front(shown, key);
  const canvas = chart(figure.querySelector(".plot"), {
    height: 320,
    label: `Accuracy against ${metric.label} of ${listed(shown.map((method) => method.name))}`,
    x: logarithmic
      ? { low: least / 1.6, high: most * 1.6, logarithmic }
      : { low: 0, high: most * 1.06 || 1 },
    y: { low: Math.max(low - air, 0), high: Math.min(high + air, 100 + air) },
    yLabel: "accuracy (%)",
    xLabel: logarithmic ? `${metric.heading}, logarithmic` : metric.heading,
  });
  const places = leading.map((method) => [
    canvas.x(mean(method, key)),
    canvas.y(mean(method, "accuracy")),
  ]);
  const steps = places.map(([x, y], n) => (n === 0 ? `M${x},${y}` : `H${x}V${y}`)).join("");
  if (steps) canvas.svg.append(draw("path", { class: "front", d: steps, "aria-hidden": "true" }));
  const ordered = shown.toSorted((a, b) => mean(a, key) - mean(b, key));
  const points = [];
  const placed = [];
  for (const method of ordered) {
    const [x, y] = [canvas.x(mean(method, key)), canvas.y(mean(method, "accuracy"))];
    const onFront = leading.includes(method);
    const sign = marker(method);
    sign.setAttribute("transform", `translate(${x},${y})`);
    points.push(
      point(
        method.slug,
        pointLines(method, key, best, onFront),
        draw("circle", { class: "reach", cx: x, cy: y, r: 12 }),
        ...errorBars(canvas, method, key),
        sign,
      ),
    );
    placed.push({ x, y, method, onFront });
  }
  const covered = drawFloor(canvas, placed);
  canvas.svg.append(...points);
  // Above the points: no bar strikes a name through, and none hides what is pointed at.
  nameThem(canvas, placed, covered);
  walkable(points);
}

if (farBelow.length > 0) {
  const names = farBelow.map((method) => `${method.name} (${percent(method)})`);
  const boxes = [...document.querySelectorAll(".far input")];
  for (const box of boxes) {
    const far = box.closest(".far");
    far.hidden = false;
    far.querySelector("span").textContent =
      `Left out, more than ${nearPoints} points under the best: ${listed(names)}.`;
    box.addEventListener("change", () => {
      everyMethod = box.checked;
      for (const other of boxes) other.checked = everyMethod;
      drawAll();
    });
  }
}
for (const figure of document.querySelectorAll("#fronts figure"))
  keepDrawn(() => drawFront(figure));
