// Which method fits a case, by the records: first what is possible, then what is known of the loss
// of accuracy, then the least of what is asked for. Nothing here touches the page.

const GOALS = [
  { key: "balance", name: "time × memory", of: ["train_seconds", data.memory] },
  { key: "time", name: "train time", of: ["train_seconds"] },
  { key: "memory", name: "peak memory", of: [data.memory] },
  { key: "room", name: "room for the adapters", of: [] },
  { key: "energy", name: "energy of training", of: ["train_gpu_energy", "train_processor_energy"] },
  { key: "loss", name: "loss of accuracy", of: [] },
];

const SHARES_BACKBONE = new Set(["adapter and head", "biases and head", "head"]);

/** Return the MB that so many trained models take, and how that is computed; null if unknown. */
function roomFor(method, count) {
  const file = mean(method, "adapter_file_bytes");
  if (file === null || method.trains === null) return null;
  const each = withUnit(method, "adapter_file_bytes");
  if (!SHARES_BACKBONE.has(method.trains)) {
    return { mb: count * file, sum: `${count} × ${each} (each is a whole model)` };
  }
  const full = methods.get(data.full);
  const whole = full ? mean(full, "adapter_file_bytes") : null;
  if (whole === null) return null;
  return {
    mb: whole + count * file,
    sum: `the backbone once, no more than ${full.name}'s file of ${withUnit(full, "adapter_file_bytes")}, + ${count} × ${each}`,
  };
}

function megabytes(mb) {
  return mb >= 1000 ? `${written(mb / 1000, 2)} GB` : `${written(mb, 1)} MB`;
}

/** Return what is known of a method's loss against a rival: within, beyond or open, and why. */
function lossOf(method, rival, most) {
  if (rival === null) return { known: "open", why: "no accuracy is known" };
  if (method === rival)
    return { known: "within", points: 0, why: "it is what the others are held against" };
  if (mean(method, "accuracy") === null) return { known: "open", why: "its accuracy is not known" };
  const paired = method.against[rival.slug];
  if (!paired)
    return { known: "open", why: `it can't be compared with ${rival.name}: they share no seed` };
  const told = { points: -paired.points, figures: paired.figures };
  const says = `${method.name} less ${rival.name}: ${paired.figures}`;
  if (paired.single) {
    return { ...told, known: "open", why: `${says}; one seed says nothing about other seeds` };
  }
  if (paired.ends === null) return { ...told, known: "open", why: `${says}; no interval is known` };
  const [low, high] = paired.ends;
  const limit = `${plainNumber(most)} ${most === 1 ? "point" : "points"}`;
  if (low >= -most)
    return {
      ...told,
      known: "within",
      why: `${says}; the interval excludes a loss of more than ${limit}`,
    };
  if (high < -most)
    return {
      ...told,
      known: "beyond",
      why: `${says}; the interval is wholly beyond a loss of ${limit}`,
    };
  return {
    ...told,
    known: "open",
    why: `${says}; the interval holds both more and less than a loss of ${limit}`,
  };
}

/** Return the metrics that a goal is of; of energy, those that were counted at all. */
function metricsOf(goal) {
  const known = (key) =>
    data.methods.some((method) => !method.reference && mean(method, key) !== null);
  return goal.key === "energy" ? goal.of.filter(known) : goal.of;
}

/** Return the cost that a goal minimises; null where not all of it was measured. */
function costOf(method, goal, asked, loss) {
  if (goal.key === "room") return roomFor(method, asked.adapters)?.mb ?? null;
  if (goal.key === "loss") return loss.points ?? null;
  const numbers = metricsOf(goal).map((key) => mean(method, key));
  if (numbers.length === 0 || numbers.includes(null)) return null;
  return numbers.reduce((a, b) => (goal.key === "energy" ? a + b : a * b));
}

/** Return the cost of a goal in words. */
function costWords(method, goal, asked) {
  if (goal.key === "room") return megabytes(roomFor(method, asked.adapters).mb);
  return metricsOf(goal)
    .map((key) => withUnit(method, key))
    .join(" and ");
}

/** Return why a method is out whatever its accuracy; null where it is possible. */
function impossible(method, asked) {
  if (method.failure) return { key: "failure", why: method.failure };
  if (method.idle)
    return { key: "idle", why: "always answering the most frequent label is as accurate" };
  if (method.under && !asked.under)
    return { key: "under", why: "the bag of words is more accurate by the means" };
  if (asked.memory !== null) {
    if (method.memory === null) return { key: "unknown", why: "its memory was not measured" };
    if (method.memory.mean > asked.memory) {
      return { key: "memory", why: `it took ${method.memory.text} of memory in training` };
    }
  }
  if (asked.room !== null) {
    const room = roomFor(method, asked.adapters);
    if (room === null) return { key: "unknown", why: "how much room it takes is not known" };
    if (room.mb > 1000 * asked.room)
      return { key: "room", why: `it takes ${megabytes(room.mb)} to keep: ${room.sum}` };
  }
  return null;
}

/** Return what the records say to what is asked: how each method fares, and which one to take. */
function decide(asked) {
  const goal = GOALS.find((one) => one.key === asked.goal);
  const best = methods.get(asked.under ? data.best.all : data.best.qualified) ?? null;
  const chosen = asked.against === "full" ? methods.get(data.full) : best;
  // Nothing is held against what has no accuracy, such as random weights.
  const rival = chosen && mean(chosen, "accuracy") !== null ? chosen : null;
  const fared = data.methods
    .filter((method) => !method.reference)
    .map((method) => {
      const out = impossible(method, asked);
      const loss = out ? null : lossOf(method, rival, asked.loss);
      return { method, out, loss, cost: out ? null : costOf(method, goal, asked, loss) };
    });
  const able = fared.filter((one) => one.out === null);
  const within = able.filter((one) => one.loss.known === "within");
  const open = able.filter((one) => one.loss.known === "open");
  // Where no accuracy is known at all, not even that a larger loss is not shown counts for anything.
  const enough = asked.evidence === "open" && rival !== null ? [...within, ...open] : within;
  const byCost = (a, b) =>
    a.cost - b.cost || (mean(b.method, "accuracy") ?? 0) - (mean(a.method, "accuracy") ?? 0);
  const known = enough.filter((one) => one.cost !== null).toSorted(byCost);
  return {
    asked,
    goal,
    best,
    rival,
    fared,
    able,
    enough,
    open: open.filter((one) => !enough.includes(one)),
    pick: known[0] ?? null,
  };
}
