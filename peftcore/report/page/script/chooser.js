// The chooser: what is asked, and the answer in words.

const MOST_REASONS = 3; // Of methods that are alike, no more are told one by one.
const MOST_NAMES = 15; // Of more methods than these the number is told.

const form = document.getElementById("chooser");

function field(name) {
  return form.elements[name];
}

/** Return what is asked, or what is wrong with it in words. */
function readAsked() {
  const number = (name, words, { least, none, whole = false }) => {
    const input = field(name);
    const text = input.value.trim();
    const found = Number(text);
    const empty = text === "" && !input.validity.badInput;
    const fine = empty
      ? none !== undefined
      : text !== "" &&
        Number.isFinite(found) &&
        found >= least &&
        (!whole || Number.isInteger(found));
    input.setAttribute("aria-invalid", String(!fine));
    if (!fine) wrong.push(words);
    return empty ? none : found;
  };
  const wrong = [];
  const asked = {
    memory: number("memory", "The memory limit must be a number of GB, 0 or more, or empty.", {
      least: 0,
      none: null,
    }),
    adapters: number("adapters", "The number of adapters must be a whole number, 1 or more.", {
      least: 1,
      whole: true,
    }),
    room: number("room", "The room must be a number of GB, 0 or more, or empty.", {
      least: 0,
      none: null,
    }),
    loss: number("loss", "The accuracy to lose must be a number of points, 0 or more.", {
      least: 0,
    }),
    against: field("against").value,
    evidence: field("evidence").value,
    goal: field("goal").value,
    under: field("under").checked,
  };
  return { asked, wrong };
}

/** Return the names of methods, or how many they are. */
function names(found) {
  return found.length > MOST_NAMES
    ? `${found.length} methods`
    : listed(found.map((one) => one.method.name));
}

/** Return an order by loss, the least first; what is not known comes last. */
const byLoss = (a, b) => (a.loss.points ?? Infinity) - (b.loss.points ?? Infinity);

/** Return the sentences that say why a method is the answer. */
function reasons({ asked, goal, rival, pick, enough, open }) {
  const { method } = pick;
  const found = [];
  if (pick.loss.figures) found.push(`Accuracy: ${pick.loss.why}.`);
  else if (rival)
    found.push(
      `Accuracy: ${method.name} is the one that the others are held against, at ${percent(method)}.`,
    );
  if (asked.memory !== null) {
    found.push(
      `Memory: it took ${method.memory.text} in training (${inSentence(method.memory.label)}), of ${plainNumber(asked.memory)} GB.`,
    );
  }
  const room = roomFor(method, asked.adapters);
  const full = methods.get(data.full);
  if (room !== null && (asked.adapters > 1 || asked.room !== null || goal.key === "room")) {
    const beside = full && full !== method ? roomFor(full, asked.adapters) : null;
    found.push(
      `To keep ${asked.adapters === 1 ? "one" : asked.adapters}: ${room.sum} ≈ ${megabytes(room.mb)}` +
        (beside
          ? `, where ${full.name} takes ${asked.adapters} × ${withUnit(full, "adapter_file_bytes")} ≈ ${megabytes(beside.mb)}.`
          : "."),
    );
  }
  const rest = enough.filter((one) => one !== pick);
  const known = rest.filter((one) => one.cost !== null);
  const unknown = rest.filter((one) => one.cost === null);
  const kept =
    asked.evidence === "shown" ? "shown to keep within the loss" : "not shown to lose more";
  if (rest.length === 0) found.push(`No other method within the limits is ${kept}.`);
  if (goal.key !== "loss" && known.length > 0) {
    const equal = known.filter((one) => one.cost === pick.cost);
    const least =
      equal.length === 0
        ? `it is the one with the least ${goal.name}`
        : `none has less ${goal.name}, and ${names(equal)} ${equal.length > 1 ? "have" : "has"} as much`;
    found.push(
      `Of the ${known.length + 1} methods that are ${kept}, ${least}, by the means: ${costWords(method, goal, asked)}.`,
    );
  }
  if (unknown.length > 0) {
    found.push(
      `${names(unknown)} ${unknown.length > 1 ? "are" : "is"} ${kept} too, but the ${goal.name} was not measured.`,
    );
  }
  const cheaper = open
    .filter((one) => one.cost !== null && one.cost < pick.cost && one.loss.figures)
    .toSorted(byLoss);
  if (goal.key !== "loss" && cheaper.length > 0) {
    const shown = cheaper
      .slice(0, MOST_REASONS)
      .map((one) => `${one.method.name} (${one.loss.figures})`);
    if (cheaper.length > shown.length)
      shown.push(`and ${cheaper.length - shown.length} more, listed below`);
    found.push(`Less ${goal.name}, but a larger loss is not excluded: ${shown.join("; ")}.`);
  }
  return found;
}

/** Return what the records can't tell of the answer. */
function doubts({ asked, goal, pick, fared }) {
  const found = [];
  const timed = pick !== null && goal.of.includes("train_seconds");
  if (timed && fared.some((one) => value(one.method, "train_seconds")?.shared)) {
    found.push(
      "Times (◊) were taken while other trials ran on the machine, so which is really faster these records can't tell.",
    );
  }
  if (pick !== null && asked.adapters > 1) {
    found.push(
      "How long it takes to swap adapters, and what several at once take in memory, is not in these records: pytest benchmarks/test_serving.py measures it.",
    );
  }
  if (asked.memory !== null && data.onGpu === false) {
    found.push(
      "No trial ran on a GPU: memory is that of the process, its libraries included, and what a GPU would need these records can't tell.",
    );
  }
  if (asked.memory !== null)
    found.push("Memory holds for this backbone, batch size and length of texts, as in the setup.");
  return found;
}

/** Return what to say where no method is shown to fit. */
function noAnswer({ asked, goal, rival, fared, able, enough, open }) {
  if (enough.length > 0) {
    return [
      "The records can't tell.",
      [
        `${names(enough)} ${enough.length > 1 ? "fit" : "fits"}, but the ${goal.name} can't be compared: it was not measured, or not all of it.`,
      ],
    ];
  }
  if (open.length > 0 && rival === null) {
    const costs = open.filter((one) => one.cost !== null);
    const lowest = Math.min(...costs.map((one) => one.cost));
    const least = costs.filter((one) => one.cost === lowest);
    return [
      "The records can't tell: no accuracy is known.",
      [
        `Within the limits: ${names(open)}.`,
        ...(least.length > 0
          ? [
              `The least ${goal.name} is that of ${names(least)}: ${costWords(least[0].method, goal, asked)}.`,
            ]
          : []),
      ],
    ];
  }
  if (open.length > 0) {
    const likely = open.toSorted(byLoss);
    const why = likely.slice(0, MOST_REASONS).map((one) => `${one.loss.why}.`);
    if (open.length > MOST_REASONS) why.push("The others are listed below.");
    const more = data.severalSeeds
      ? "More seeds or more test examples make intervals narrower; a larger loss that you can take, too."
      : "Run more seeds to know.";
    return [
      `The records can't tell: ${names(open)} may fit, but that none loses more is not shown.`,
      [...why, more],
    ];
  }
  const found = [];
  const nearest = able.toSorted(byLoss).slice(0, MOST_REASONS);
  found.push(...nearest.map((one) => `${one.loss.why}.`));
  const because = (key) => fared.filter((one) => one.out?.key === key);
  const least = (list, of) => list.toSorted((a, b) => of(a) - of(b))[0];
  const memory = because("memory");
  if (memory.length > 0) {
    const one = least(memory, (each) => each.method.memory.mean);
    found.push(
      `Over the memory limit of ${plainNumber(asked.memory)} GB: ${names(memory)}. The least of them is ${one.method.name}'s: ${one.method.memory.text}.`,
    );
  }
  const room = because("room");
  if (room.length > 0) {
    const one = least(room, (each) => roomFor(each.method, asked.adapters).mb);
    found.push(
      `Over the room of ${plainNumber(asked.room)} GB: ${names(room)}. The least of them is ${one.method.name}'s: ${roomFor(one.method, asked.adapters).sum} ≈ ${megabytes(roomFor(one.method, asked.adapters).mb)}.`,
    );
  }
  const under = because("under");
  if (under.length > 0) {
    found.push(
      `Less accurate, by the means, than the bag of words (${percent(methods.get(data.bagOfWords))}), which needs no backbone: ${names(under)}. Tick the box above to choose among them all the same.`,
    );
  }
  for (const [key, words] of [
    ["idle", "No better than always answering the most frequent label"],
    ["failure", "No trial finished"],
    ["unknown", "Not measured"],
  ]) {
    if (because(key).length > 0) found.push(`${words}: ${names(because(key))}.`);
  }
  const what =
    rival && able.length > 0
      ? "Nothing that was measured here keeps within that loss."
      : "Nothing that was measured here fits.";
  return [what, found];
}

/** Return the answer in a few words: how sure it is, and whether something lighter will do. */
function headlineOf({ pick, open, goal }) {
  const lead = `${data.caveat ? "On this corpus the rules pick" : "Use"} ${pick.method.name}`;
  const lighter = open.some((one) => one.cost !== null && one.cost < pick.cost && one.loss.figures);
  let sure = "";
  if (pick.loss.known === "open") sure = ", as far as these records tell";
  else if (lighter && goal.key !== "loss") sure = ", to be sure of the loss";
  const beaten = pick.method.under
    ? ` The bag of words, which needs no backbone, is more accurate by the means: ${percent(methods.get(data.bagOfWords))}.`
    : "";
  return `${lead}${sure}.${beaten}`;
}

function fillFared({ fared, goal, asked }) {
  const priced = goal.key !== "loss";
  const verdicts = { within: "keeps within", beyond: "loses more", open: "can't be told" };
  const rows = fared.map(({ method, out, loss, cost }) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, method.name),
      make("td", {}, out ? "out" : verdicts[loss.known]),
      make("td", {}, out ? out.why : loss.why),
      priced
        ? make("td", { class: "number" }, cost === null ? "—" : costWords(method, goal, asked))
        : null,
    ),
  );
  const heads = ["Method", "Verdict", "Why"].map((head) => make("th", { scope: "col" }, head));
  if (priced) heads.push(make("th", { scope: "col", class: "number" }, goal.name));
  document
    .querySelector("#fared div")
    .replaceChildren(
      make(
        "div",
        { class: "wide", tabindex: "0", role: "group", "aria-label": "How each method fared" },
        make(
          "table",
          {},
          make("thead", {}, make("tr", {}, ...heads)),
          make("tbody", {}, ...rows),
        ),
      ),
    );
}

/** Say which method the most accurate one is, by what is asked for, whether or not it is chosen. */
function nameBest(best) {
  field("against").options[0].textContent = best
    ? `the most accurate, ${best.name}`
    : "the most accurate";
}

function answer() {
  const { asked, wrong } = readAsked();
  const place = document.getElementById("choice");
  document.getElementById("fared").hidden = wrong.length > 0;
  if (wrong.length > 0) {
    place.replaceChildren(...wrong.map((words) => make("p", { class: "wrong" }, words)));
    return;
  }
  const decided = decide(asked);
  nameBest(decided.best);
  const [headline, because] = decided.pick
    ? [headlineOf(decided), reasons(decided)]
    : noAnswer(decided);
  place.replaceChildren(
    make("p", { class: "headline" }, headline),
    make("ul", {}, ...because.map((words) => make("li", {}, words))),
    ...doubts(decided).map((words) => make("p", { class: "note" }, words)),
  );
  fillFared(decided);
}

field("against").append(make("option", { value: "best" }));
const baseline = methods.get(data.full);
const leader = data.best.qualified ?? data.best.all;
if (baseline && baseline.slug !== leader && mean(baseline, "accuracy") !== null) {
  field("against").append(make("option", { value: "full" }, baseline.name));
}
for (const goal of GOALS) {
  const measuredByAny =
    goal.of.length === 0 ||
    data.methods.some((method) => goal.of.some((key) => mean(method, key) !== null));
  if (measuredByAny) field("goal").append(make("option", { value: goal.key }, goal.name));
}
document.getElementById("under-choice").hidden = !data.methods.some((method) => method.under);
form.addEventListener("input", answer);
form.addEventListener("submit", (event) => event.preventDefault());
answer();
