"use strict";
// Texts of models reach the page through textContent alone, never as HTML.
const { samples } = JSON.parse(document.getElementById("data").textContent);

// --- the values of a chart, shown at the pointer or the finger
const values = document.getElementById("values");
document.addEventListener("pointerover", ({ target, clientX, clientY }) => {
  values.hidden = !target.dataset.says;
  if (values.hidden) return;
  values.textContent = target.dataset.says;
  const { width, height } = values.getBoundingClientRect();
  values.style.left = `${clientX + width + 24 < innerWidth ? clientX + 14 : Math.max(4, clientX - width - 14)}px`;
  values.style.top = `${Math.max(4, clientY - height - 14)}px`;
});
document.addEventListener("pointercancel", () => (values.hidden = true)); // the finger scrolls

// --- samples
const PAGE = 50;
const form = document.getElementById("filters"), list = document.getElementById("list");
const more = document.getElementById("more"), count = document.getElementById("count");
let found = [], shown = 0;
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
for (const sample of samples) {
  sample.searched = [...sample.parts.map(([, text]) => text), "\n", sample.prompt].join("").toLowerCase();
}
for (const name of ["run", "where", "outcome", "difficulty"]) {
  const values = [...new Set(samples.map((sample) => sample[name]).filter((value) => value !== null))];
  values.sort((a, b) => (typeof a === "number" ? a - b : a < b ? -1 : 1));
  form.elements[name].append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
  form.elements[name].closest("label").hidden = values.length < 2;
}

function search() {
  const wanted = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  const word = wanted.word.toLowerCase();
  const within = (value, low, high) =>
    (low === "" || (value !== null && value >= Number(low))) && (high === "" || (value !== null && value <= Number(high)));
  found = samples.filter(
    (sample) =>
      ["run", "where", "outcome", "difficulty"].every((name) => !wanted[name] || String(sample[name]) === wanted[name]) &&
      within(sample.step, wanted.step_low, wanted.step_high) &&
      within(sample.total, wanted.reward_low, wanted.reward_high) &&
      sample.searched.includes(word),
  );
  const size = (sample) => sample.tokens ?? sample.length;
  if (wanted.sort === "longest") found.sort((a, b) => size(b) - size(a));
  else if (wanted.sort === "shortest") found.sort((a, b) => size(a) - size(b));
  else found.sort((a, b) => (a.step ?? Infinity) - (b.step ?? Infinity));
  list.replaceChildren();
  shown = 0;
  show();
}
function show() {
  list.append(...found.slice(shown, shown + PAGE).map(row));
  shown = Math.min(found.length, shown + PAGE);
  more.hidden = shown === found.length;
  count.dataset.found = found.length;
  count.textContent = `${found.length} of ${samples.length} samples fit${more.hidden ? "" : `, ${shown} are listed`}.`;
}
const length = (sample) => (sample.tokens === null ? `${sample.length} characters` : `${sample.tokens} tokens`);
const place = (sample) => (sample.where === "training" ? `step ${sample.step}` : sample.where);

function row(sample) {
  const details = make("details", `sample ${sample.outcome.replace(" ", "-")}`);
  const summary = make("summary");
  summary.append(
    make("span", "badge", sample.outcome), make("span", "meta", place(sample)), make("span", "meta", length(sample)),
    make("span", "start", sample.problem),
  );
  details.append(summary);
  details.addEventListener("toggle", () => details.childElementCount < 2 && details.append(body(sample)));
  return details;
}
function body(sample) {
  const node = make("div", "body");
  const rewards = Object.entries(sample.rewards).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  const facts = [sample.run, sample.difficulty === null ? "" : `difficulty ${sample.difficulty}`, ...rewards,
    sample.cut_off ? "cut off at the length limit" : ""];
  const prompt = make("details");
  prompt.append(make("summary", "source", "Prompt"), make("pre", "part prompt", sample.prompt));
  node.append(make("p", "source", facts.filter(Boolean).join(" · ")));
  const others = sample.pair ? samples.filter((one) => one.pair === sample.pair && one !== sample) : [];
  if (others.length === 0) node.append(text(sample));
  else {
    const beside = make("div", "beside");
    const both = [sample, ...others].sort((a, b) => (a.where > b.where ? -1 : 1)); // "before" first
    beside.append(...both.map(text));
    node.append(beside);
  }
  node.append(prompt);
  return node;
}
function text(sample) {
  const node = make("article", `text ${sample.outcome.replace(" ", "-")}`), header = make("header");
  header.append(make("span", "badge", sample.outcome), ` ${place(sample)}, ${length(sample)}`);
  node.append(header);
  if (sample.verdict) node.append(make("p", "verdict", sample.verdict));
  node.append(...sample.parts.map(([kind, part]) => make("pre", `part ${kind}`, part)));
  return node;
}
form.addEventListener("input", search);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(search));
more.addEventListener("click", show);
search();
