// Loss by step and accuracy by epoch.

function drawCurves(figure) {
  const kind = figure.dataset.curve;
  const accuracy = kind === "epochs";
  const curves = data[kind].filter((curve) => !accuracy || isDrawn(methods.get(curve.slug)));
  if (curves.length === 0) return;
  const all = (name) => curves.flatMap((curve) => curve[name]);
  const [low, high] = [Math.min(...all("low")), Math.max(...all("high"))];
  const air = accuracy ? Math.max(0.05 * (high - low), 0.5) : 0;
  const last = Math.max(...all("x"));
  const canvas = chart(figure.querySelector(".plot"), {
    height: 320,
    label: `${accuracy ? "Accuracy by epoch" : "Training loss by step"} of ${listed(
      curves.map((curve) => methods.get(curve.slug).name),
    )}`,
    x: accuracy ? { low: 0.8, high: last + 0.2, whole: true } : { low: 0, high: last },
    y: accuracy
      ? { low: Math.max(low - air, 0), high: Math.min(high + air, 100) }
      : { low: 0, high: 1.05 * Math.max(...all("mean")) },
    xLabel: accuracy ? "epoch" : "step",
  });
  const points = [];
  for (const curve of curves) {
    const method = methods.get(curve.slug);
    const path = (name) =>
      curve.x.map((x, n) => `${canvas.x(x).toFixed(1)},${canvas.y(curve[name][n]).toFixed(1)}`);
    const band = [...path("low"), ...path("high").reverse()].join(" ");
    const line = draw(
      "g",
      { class: "series" },
      draw("polygon", {
        points: band,
        ...(method.reference
          ? { class: "band plain" }
          : { class: "band", fill: method.look.colour }),
      }),
      draw("polyline", { points: path("mean").join(" "), fill: "none", ...lineLook(method) }),
      draw("polyline", { class: "reach", points: path("mean").join(" "), fill: "none" }),
    );
    lightsUp(line, curve.slug);
    canvas.svg.append(line);
    // Of a loss, some points stand for all; of accuracy there is one an epoch.
    const every = accuracy ? 1 : Math.max(Math.floor(curve.x.length / 5), 1);
    for (let n = curve.x.length - 1; n >= 0; n -= every) {
      const sign = marker(method, 4.5);
      sign.setAttribute(
        "transform",
        `translate(${canvas.x(curve.x[n])},${canvas.y(curve.mean[n])})`,
      );
      const digits = accuracy ? 2 : 4;
      const range = `${written(curve.low[n], digits)} to ${written(curve.high[n], digits)}`;
      const unit = accuracy ? "%" : " nats";
      const lines = [
        method.name,
        `${accuracy ? "Epoch" : "Step"} ${written(curve.x[n], 0)}: ${written(curve.mean[n], digits)}${unit}`,
      ];
      if (curve.several) lines.push(`Seeds: ${range}`);
      else if (accuracy) lines.push(`95% interval of this model: ${range}`);
      points.push([curve.x[n], point(curve.slug, lines, sign)]);
    }
  }
  const ordered = points.toSorted((a, b) => a[0] - b[0]).map(([, element]) => element);
  canvas.svg.append(...ordered);
  walkable(ordered);
}

for (const figure of document.querySelectorAll("#curves figure"))
  keepDrawn(() => drawCurves(figure));
