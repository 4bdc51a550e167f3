"use strict";
// The page of a run. It shows what the server tells, and changes nothing by itself.

const $ = (id) => document.getElementById(id);
const VIEWS = ["flow", "training", "records", "models"];
let seen = null; // the newest board, as /api/board has it
let refused = null; // why the run was not told what somebody wanted to tell it, until it is told something else

/** An element: attributes, then children; functions are listeners. */
function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}
function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}
function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

// Figures in words; the server has those of tables.
const count = (n) => n.toLocaleString("en");
const rate = (n) => (n < 10 ? n.toFixed(1) : count(Math.round(n)));
const waiting = (stage) => Math.max(0, stage.inputs - stage.done - stage.rejected);

// The views.
let view = "flow";
function show(name) {
  view = name;
  for (const other of VIEWS) {
    $(other).hidden = other !== name;
    $("tab-" + other).setAttribute("aria-selected", String(other === name));
    $("tab-" + other).tabIndex = other === name ? 0 : -1;
  }
  if (name === "records") refreshLogs();
  if (seen) draw();
}

/** What must not be overlooked; nothing where there is none. */
function alert(text) {
  $("alert").hidden = !text;
  $("alert").textContent = text;
}

function draw() {
  const { board, missing, going } = seen;
  alert(missing ? `There is no run to be seen: ${missing}` : refused ?? board.cause ?? "");
  if (missing) return;
  $("name").textContent = board.name;
  document.title = `${board.name} · ${board.state}`;
  $("state").textContent = board.state;
  $("headline").textContent = going;
  const goesOn = ["running", "paused", "draining"].includes(board.state);
  $("pause").disabled = !goesOn || board.state === "draining";
  $("pause").firstChild.textContent = board.state === "paused" ? "Resume " : "Pause ";
  $("drain").disabled = !goesOn || board.state === "draining";
  ({ flow: drawFlow, training: drawTraining, records: () => {}, models: () => table($("asked"), seen.models) })[view]();
}

// Flow: the graph, and the same as a table.
const BOX = { width: 148, height: 58, across: 40, down: 16 };
let layout = { key: "", places: new Map(), width: 0, height: 0 };

/** Columns by the longest way from a source; an edge of the turn loop leads back and counts for nothing. */
function laidOut(stages) {
  const key = stages.map((stage) => stage.name + ":" + stage.from + ":" + stage.with).join(";");
  if (layout.key === key) return layout;
  const at = new Map(stages.map((stage, index) => [stage.name, index]));
  const column = new Map();
  for (const stage of stages) {
    const before = [...stage.from, ...stage.with].filter((from) => column.has(from) && at.get(from) < at.get(stage.name));
    column.set(stage.name, before.length ? 1 + Math.max(...before.map((from) => column.get(from))) : 0);
  }
  const places = new Map(), heights = [];
  for (const stage of stages) {
    const c = column.get(stage.name);
    const row = (heights[c] = (heights[c] ?? -1) + 1);
    places.set(stage.name, { x: 24 + c * (BOX.width + BOX.across), y: 36 + row * (BOX.height + BOX.down) });
  }
  const width = heights.length * (BOX.width + BOX.across) + 24, height = (Math.max(0, ...heights) + 1) * (BOX.height + BOX.down) + 36;
  return (layout = { key, places, width, height });
}

function edge(from, to, side) {
  const [x1, y1, x2, y2] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
  // An edge that leads back goes over the top of all.
  const path = x2 <= x1
    ? `M${x1},${y1} h8 q8,0 8,-8 V16 q0,-8 -8,-8 H${x2 - 10} q-8,0 -8,8 V${y2 - 8} q0,8 8,8 H${x2}`
    : `M${x1},${y1} C${x1 + BOX.across / 2},${y1} ${x2 - BOX.across / 2},${y2} ${x2},${y2}`;
  return svg("path", { class: side ? "edge side" : "edge", d: path, "marker-end": "url(#arrow)" });
}

const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

function node(stage, pace, held) {
  const { x, y } = layout.places.get(stage.name);
  const lines = [
    `${count(stage.inputs)} → ${count(stage.outputs)}`,
    [pace.per_s > 0 && rate(pace.per_s) + "/s", waiting(stage) > 0 && count(waiting(stage)) + " wait", stage.rejected > 0 && count(stage.rejected) + " rejected"].filter(Boolean).join(" · "),
  ];
  const share = Math.min(1, pace.busy), blocked = Math.min(1, pace.blocked);
  return svg("g", { class: held ? "held" : "", transform: `translate(${x},${y})` },
    svg("title", {}, `${stage.name} (${stage.kind}): ${lines.join(", ")}; busy ${Math.round(100 * pace.busy)}%, blocked ${Math.round(100 * pace.blocked)}%`),
    svg("rect", { class: "box", width: BOX.width, height: BOX.height, rx: 4 }),
    svg("text", { x: 7, y: 16, "font-weight": 600 }, short(stage.name, 20)),
    svg("text", { x: 7, y: 32, class: "small" }, lines[0]),
    svg("text", { x: 7, y: 46, class: "small" }, short(lines[1], 25)),
    svg("rect", { class: "track", x: 0, y: BOX.height - 5, width: BOX.width, height: 5 }),
    svg("rect", { class: blocked > share ? "blocked" : "busy", x: 0, y: BOX.height - 5, width: BOX.width * Math.max(share, blocked), height: 5 }),
    held && svg("text", { x: BOX.width, y: -3, "text-anchor": "end", class: "small" }, "the rest waits for this"));
}

function drawFlow() {
  const { stages } = seen.board;
  const { places, width, height } = laidOut(stages);
  const edges = stages.flatMap((stage) => [
    ...stage.from.map((from) => edge(places.get(from), places.get(stage.name), false)),
    ...stage.with.map((from) => edge(places.get(from), places.get(stage.name), true)),
  ]);
  const arrow = svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 6 6", refX: 6, refY: 3, markerWidth: 6, markerHeight: 6, orient: "auto" }, svg("path", { d: "M0,0 L6,3 L0,6 z", fill: "currentColor" })));
  const nodes = stages.map((stage, at) => node(stage, seen.paces[at], stage.name === seen.held));
  $("graph").replaceChildren(svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` }, arrow, edges, nodes));
  table($("stages"), seen.stages);
}

/** Fills a table: a name first, then numbers. The row of the stage that holds the rest up stands out. */
function table(element, { columns, rows }) {
  const kind = (at) => ({ class: at === 0 || columns[at] === "for" ? "name" : "n" });
  element.replaceChildren(
    h("thead", {}, h("tr", {}, columns.map((column, at) => h("th", { scope: "col", ...kind(at) }, column)))),
    h("tbody", {}, rows.map((cells) => h("tr", cells[0] === seen.held ? { class: "held" } : {}, cells.map((cell, at) => h("td", kind(at), cell))))));
}

// Training: curves of one stage.
const CHARTS = [
  ["Loss", ["loss"]],
  ["Rewards", ["rewards/chosen", "rewards/rejected"]],
  ["Margin", ["rewards/margins"]],
  ["Accuracy", ["rewards/accuracies"]],
  ["Learning rate", ["learning_rate"]],
  ["Gradient norm", ["grad_norm"]],
];
let curves = { stage: null, updates: -1 };

function options(select, names) {
  const now = [...select.options].map((option) => option.value);
  if (now.length === names.length && now.every((name, at) => name === names[at])) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(chosen)) select.value = chosen;
}

async function drawTraining() {
  const trainings = seen.board.trainings;
  options($("which"), Object.keys(trainings));
  const stage = $("which").value, training = trainings[stage];
  if (!training) return void ($("trained").textContent = "Nothing has been trained yet.");
  const { updates, planned, unused, shortened, skipped } = training;
  $("trained").textContent = `${count(updates)} of ${count(planned)} updates · ${count(unused)} pairs left over · ${count(shortened)} shortened · ${count(skipped.pairs)} skipped${skipped.first ? `, the first ${skipped.first}` : ""}`;
  if (curves.stage === stage && curves.updates === updates) return;
  const logged = await ask(`/api/curves/${encodeURIComponent(stage)}`);
  if (!logged) return;
  curves = { stage, updates };
  $("curves").replaceChildren(...CHARTS.map(([title, names]) => chart(title, names.filter((name) => logged[name]).map((name) => [name, logged[name]]))).filter(Boolean));
}

function chart(title, lines) {
  if (!lines.length) return null;
  const [width, height, left, foot] = [420, 200, 52, 20];
  const values = lines.flatMap(([, line]) => line.values), steps = lines.flatMap(([, line]) => line.steps);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (high - low < 1e-12) [low, high] = [low - 0.5, high + 0.5];
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  const x = (step) => left + ((width - left - 8) * (step - first)) / Math.max(1e-9, last - first);
  const y = (value) => 8 + ((height - foot - 16) * (high - value)) / (high - low);
  const label = (value) => (Math.abs(value) >= 1000 || (value !== 0 && Math.abs(value) < 0.001) ? value.toExponential(1) : value.toFixed(3));
  const ticks = [low, (low + high) / 2, high].map((value) => [
    svg("line", { class: "grid", x1: left, x2: width - 8, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, label(value)),
  ]);
  const ends = [first, last].map((step, at) => svg("text", { x: x(step), y: height - 4, "text-anchor": at ? "end" : "start" }, String(step)));
  const paths = lines.map(([, line], at) => svg("polyline", { class: "l" + (at + 1), points: line.steps.map((step, i) => `${x(step).toFixed(1)},${y(line.values[i]).toFixed(1)}`).join(" ") }));
  const said = lines.map(([name, line]) => `${name}: ${label(line.values[0])} → ${label(line.values.at(-1))}`).join("; ");
  return h("figure", {}, h("h2", {}, title), svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over updates. ${said}` }, ticks, ends, paths), h("figcaption", {}, said));
}

// Records: a list that is searched, and one of them at length.
let found = { log: "", text: "", entries: [], before: null, all: 0, asked: 0 };

async function refreshLogs() {
  const logs = await ask("/api/records");
  if (!logs) return;
  // Pairs first: they are what a run is for.
  options($("log"), logs.sort((a, b) => b.record.localeCompare(a.record) || a.process - b.process).map((log) => log.log));
  // Of several processes each keeps its own.
  const several = logs.some((log) => log.process > 0);
  logs.forEach((log, at) => ($("log").options[at].textContent = `${log.stage} (${log.record === "Pair" ? "pairs" : "judged responses"}${several ? `, process ${log.process + 1}` : ""})`));
  if (!logs.length) $("found").textContent = "This run has kept no records yet.";
  else look();
}

/** Looks from the newest; goes on by itself until a page is full or all was looked through. */
async function look() {
  const asked = ++found.asked;
  Object.assign(found, { log: $("log").value, text: $("text").value, entries: [], before: null });
  chosen = { at: -1, number: -1 };
  if (found.log) await lookOn(asked, true);
}
async function lookOn(asked, first) {
  const from = found.entries.length;
  do {
    const where = new URLSearchParams({ text: found.text });
    if (!first) where.set("before", found.before);
    const page = await ask(`/api/records/${encodeURIComponent(found.log)}?${where}`);
    if (!page || asked !== found.asked) return;
    first = false;
    found.entries.push(...page.records);
    Object.assign(found, { before: page.before, all: page.all });
    drawList();
  } while (found.before != null && found.entries.length < from + 30);
}

function drawList() {
  const more = found.before != null;
  $("found").textContent = `${count(found.entries.length)}${more ? " and more" : ""} of ${count(found.all)}${seen?.board.processes > 1 ? `, those of one of ${seen.board.processes} processes` : ""}`;
  const items = found.entries.map((entry, at) => h("li", {}, h("button", { type: "button", "data-at": at, "aria-current": String(at === chosen.at && entry.number === chosen.number), click: () => choose(at) }, label(entry.record))));
  if (more) items.push(h("li", {}, h("button", { type: "button", click: () => lookOn(found.asked, false) }, "More …")));
  $("list").replaceChildren(...items);
}

function label(record) {
  if (!record) return "a record that cannot be read";
  if (record.response) {
    const { turn, sample, text } = record.response;
    return `${turn.session.dialogue} · turn ${turn.session.turn + 1} · sample ${sample + 1}: ${short(text.trim(), 90)}`;
  }
  return `${record.dialogue} · turn ${record.turn + 1} · g = ${record.g}, case ${record.case}: ${short(record.chosen.trim(), 90)}`;
}

let chosen = { at: -1, number: -1 };
function choose(at) {
  const entry = found.entries[at];
  if (!entry) return;
  chosen = { at, number: entry.number };
  for (const button of $("list").querySelectorAll("button[data-at]")) button.setAttribute("aria-current", String(Number(button.dataset.at) === at));
  $("list").querySelector(`button[data-at="${at}"]`)?.scrollIntoView({ block: "nearest" });
  $("shown").replaceChildren(...(entry.record?.response ? judged(entry.record) : pair(entry.record)).filter(Boolean));
}

/** A text in which what was searched for is marked. */
function marked(text) {
  const wanted = found.text;
  if (!wanted) return [text];
  const parts = [], low = text.toLowerCase(), of = wanted.toLowerCase();
  let at = 0;
  for (let next; (next = low.indexOf(of, at)) >= 0; at = next + of.length) parts.push(text.slice(at, next), h("mark", {}, text.slice(next, next + of.length)));
  return [...parts, text.slice(at)];
}
const said = (messages) => messages.map((message) => h("div", {}, h("div", { class: "role" }, message.role), h("div", { class: "text" }, marked(message.content))));
const verdict = (satisfied) => (satisfied == null ? "undecided" : satisfied ? "satisfied" : "violated");
const turned = (satisfied, reversed) => verdict(satisfied == null ? null : satisfied !== reversed);

function pair(record) {
  if (!record) return [h("p", {}, "This record cannot be read.")];
  const rules = record.constraints.map((rule) => h("li", {},
    rule.reversed ? [h("del", {}, marked(rule.original)), " ", h("ins", {}, marked(rule.text)), " ", h("span", { class: "tag" }, "reversed")] : marked(rule.text),
    h("div", { class: "soft" }, rule.active ? `chosen: ${turned(rule.chosen, rule.reversed)} · rejected: ${turned(rule.rejected, rule.reversed)}` : "not asked for in this turn")));
  return [
    h("h2", {}, `${record.dialogue}, turn ${record.turn + 1}: g = ${record.g}, case ${record.case}`),
    h("p", { class: "soft" }, `pair ${record.id} · profile ${record.profile}`),
    ...byHand("veto", [["Veto this pair", { pair: record.id }]], seen.board.vetoes, (told) => told.pair === record.id, ask("/api/veto")),
    h("div", { class: "two" },
      h("div", {}, h("h2", {}, `Chosen (sample ${record.chosen_sample + 1}, ${record.chosen_model})`), h("div", { class: "text" }, marked(record.chosen))),
      h("div", {}, h("h2", {}, `Rejected (sample ${record.rejected_sample + 1}, ${record.rejected_model})`), h("div", { class: "text" }, marked(record.rejected)))),
    h("h2", {}, "Constraints"), h("ol", { class: "rules" }, rules),
    h("h2", {}, "Prompt"), ...said(record.prompt),
  ];
}

function judged(record) {
  const { turn, sample, text, model } = record.response, { session } = turn;
  const told = seen.board.corrections ? ask("/api/correct") : null;
  const rules = record.verdicts.map((given) => {
    const rule = session.profile.constraints.find((other) => other.id === given.constraint);
    const place = { dialogue: session.dialogue, turn: session.turn, sample, constraint: given.constraint, response: text };
    const same = (said) => said.dialogue === place.dialogue && said.turn === place.turn && said.sample === sample && said.constraint === place.constraint && (said.response ?? text) === text;
    const choices = [true, false].filter((other) => other !== given.satisfied).map((other) => [other ? "It is satisfied" : "It is violated", { ...place, satisfied: other }]);
    return h("li", {}, marked(rule?.text ?? given.constraint), h("div", { class: "soft" }, `${verdict(given.satisfied)}, says ${given.by}${given.reason ? `: ${given.reason}` : ""}`),
      told ? byHand("correct", choices, seen.board.corrections, same, told) : []);
  });
  return [
    h("h2", {}, `${session.dialogue}, turn ${session.turn + 1}, sample ${sample + 1}`),
    h("p", { class: "soft" }, `answered by ${model} · profile ${session.profile.id}`),
    h("h2", {}, "Verdicts"), seen.board.corrections ? null : without("They can be overruled", "corrections"), h("ol", { class: "rules" }, rules),
    h("h2", {}, "Dialogue"), ...said([...session.history, { role: "user", content: turn.query }, { role: "assistant", content: text }]),
  ];
}

const without = (what, source) => h("p", { class: "soft" }, `${what} here where the pipeline has a source of the type “${source}” that reads a .jsonl file.`);

/** Buttons that set something right, each with what is said then; or one that takes back what was said; or why there are none. `told` is what was said of all before. */
function byHand(what, choices, file, same, told) {
  if (!file) return [without("It can be vetoed", "vetoes")];
  const made = "What depends on it is made anew by a run with --watch, or by the next run.";
  const reason = h("input", { "aria-label": "Why", placeholder: "why" });
  const note = h("span", { class: "soft", role: "status" });
  const say = async (method, row, done) => {
    const buttons = [...controls.querySelectorAll("button")], held = document.activeElement;
    const focused = controls.contains(held);
    buttons.forEach((button) => (button.disabled = true));
    const why = await tell(`/api/${what}`, { ...row, reason: reason.value }, method);
    buttons.forEach((button) => (button.disabled = false));
    if (why != null) note.textContent = why;
    else stands(method === "POST" ? row : null, done);
    // A button that is disabled, or taken away, loses the focus; unless it has gone elsewhere by now, it is here still.
    if (focused && document.activeElement === document.body) (controls.contains(held) ? held : controls.querySelector("button")).focus();
  };
  const choose = choices.map(([label, row]) => h("button", { type: "button", click: () => say("POST", row, `Noted in ${file}. ${made}`) }, label));
  /** What is said now; nothing where it is null. */
  const stands = (row, text) => {
    const back = () => h("button", { type: "button", click: () => say("DELETE", row, `Taken back. ${made}`) }, "Take it back");
    controls.replaceChildren(...(row ? [back(), " "] : [reason, " ", ...choose.flatMap((button) => [button, " "])]));
    note.textContent = text;
  };
  // What is said of it stays in its place, so that it is read out.
  const controls = h("span", {}), line = h("p", {}, controls, note);
  stands(null, "");
  told.then((all) => {
    const before = all?.find(same);
    // Who is at it already is left in peace: what is said last counts.
    if (before && !controls.contains(document.activeElement)) stands(before, `Noted before${what === "correct" ? ` as ${verdict(before.satisfied)}` : ""}${before.reason ? `: ${before.reason}` : ""}.`);
  });
  return [line];
}

// What is asked of the server, and told to it.
async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}
/** Why it was not done; null where it was. */
async function tell(path, row, method = "POST") {
  try {
    const answer = await fetch(path, { method, headers: { "x-obvert": "1", "content-type": "application/json" }, body: row && JSON.stringify(row) });
    return answer.ok ? null : await answer.text();
  } catch (error) {
    return String(error);
  }
}
async function steer(what) {
  refused = await tell(`/api/steer/${what}`);
  draw();
}

// Hands on keys and pointers.
function key(event) {
  const typing = event.target.matches("input, select");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return typing ? event.target.blur() : undefined;
  if (typing) return;
  const at = VIEWS[Number(event.key) - 1];
  if (at) show(at);
  else if (event.key === "p" && !$("pause").disabled) $("pause").click();
  else if (event.key === "/") [show("records"), $("text").focus(), event.preventDefault()];
  else if (event.key === "j" && view === "records") choose(Math.min(chosen.at + 1, found.entries.length - 1));
  else if (event.key === "k" && view === "records") choose(Math.max(chosen.at - 1, 0));
  else if (["ArrowLeft", "ArrowRight"].includes(event.key) && event.target.matches("[role=tab]")) {
    const next = VIEWS[(VIEWS.indexOf(view) + (event.key === "ArrowRight" ? 1 : VIEWS.length - 1)) % VIEWS.length];
    show(next);
    $("tab-" + next).focus();
  }
}

for (const name of VIEWS) $("tab-" + name).addEventListener("click", () => show(name));
$("pause").addEventListener("click", () => steer(seen?.board.state === "paused" ? "resume" : "pause"));
$("drain").addEventListener("click", () => confirm("Finish what is under way and end the run? A later run goes on with the rest.") && steer("drain"));
$("which").addEventListener("change", drawTraining);
$("log").addEventListener("change", look);
let typed;
$("text").addEventListener("input", () => [clearTimeout(typed), (typed = setTimeout(look, 150))]);
$("search").addEventListener("submit", (event) => [event.preventDefault(), look()]);
document.addEventListener("keydown", key);
show(VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "flow");
const events = new EventSource("/api/events");
events.addEventListener("message", (event) => {
  seen = JSON.parse(event.data);
  draw();
});
// It is tried again by itself; until then what is shown is old.
events.addEventListener("error", () => alert("Not connected: is `obvert ui` still there?"));
