"use strict";

// Tables: rows that hold a text, and heads that sort.

const text = cell => cell.textContent.trim();
const collator = new Intl.Collator("en", { numeric: true });

function filterable(grid) {
  const input = grid.querySelector("input");
  const rows = [...grid.querySelectorAll("tbody tr")];
  const texts = rows.map(row => [...row.cells].map(text).join("\n").toLowerCase());
  const show = () => {
    const wanted = input.value.trim().toLowerCase();
    rows.forEach((row, number) => { row.hidden = !texts[number].includes(wanted); });
    const shown = rows.filter(row => !row.hidden).length;
    grid.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };
  input.addEventListener("input", show);
  grid.querySelector(".filter").hidden = false;
  show();
}

// Cells without a number (in a column of numbers) or without text come last, whichever way the others go.
function ordered(rows, column, direction) {
  const cell = row => row.cells[column];
  const numeric = rows.some(row => "value" in cell(row).dataset);
  const there = row => numeric ? "value" in cell(row).dataset : text(cell(row)) !== "";
  const compare = numeric
    ? (one, two) => cell(one).dataset.value - cell(two).dataset.value
    : (one, two) => collator.compare(text(cell(one)), text(cell(two)));
  const sign = direction === "descending" ? -1 : 1;
  const known = rows.filter(there).sort((one, two) => sign * compare(one, two));
  return [...known, ...rows.filter(row => !there(row))];
}

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.querySelectorAll("th.sorts")];
  const next = { null: "ascending", ascending: "descending", descending: null };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = next[head.getAttribute("aria-sort")];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (direction) head.setAttribute("aria-sort", direction);
      body.append(...(direction ? ordered(original, column, direction) : original));
    });
  });
}

// Cases: choose one, step to its neighbours, and lay its pictures over each other.

// Puts options [value, text] into a select; what was chosen stays chosen if its text is still there.
function offer(select, options) {
  const chosen = select.selectedOptions[0]?.text;
  select.replaceChildren(...options.map(([value, name]) => new Option(name, value)));
  select.selectedIndex = Math.max(0, options.findIndex(([, name]) => name === chosen));
}

function pairs(cases, value, name) {
  return [...new Map(cases.map(each => [each[value], each[name]]))];
}

function element(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

function score(value, digits) {
  return value === null ? "not defined" : value.toFixed(digits);
}

function browse(place, { cases, colours }) {
  const named = name => place.querySelector(`[name="${name}"]`);
  const [dataset, column, patient, row] = ["dataset", "column", "case", "row"].map(named);
  const layers = [...place.querySelectorAll("[data-layer]")];
  const here = () => cases.filter(each => each.dataset === dataset.value && each.column === column.value);

  function drawLayers(shown, method) {
    const pictures = { ...shown.layers, prediction: method?.picture };
    for (const layer of layers) {
      const name = layer.dataset.layer;
      if (pictures[name]) layer.src = pictures[name]; else layer.removeAttribute("src");
      layer.alt = `${name} of ${shown.name}`;
      layer.hidden = !named(name).checked || !pictures[name];
    }
  }

  function listClasses(shown) {
    place.querySelector(".legend").replaceChildren(...shown.classes.map((name, number) => {
      const entry = element("li", "");
      const swatch = element("i", "");
      swatch.style.backgroundColor = colours[number % colours.length];
      entry.append(swatch, number ? name : `${name} (marks only)`);
      return entry;
    }));
  }

  function listScores(shown, method) {
    place.querySelector(".scores tbody").replaceChildren(...shown.rows.map(each => {
      const line = document.createElement("tr");
      const head = element("th", "");
      head.scope = "row";
      head.append(element("span", each.name));
      line.append(head, ...[score(each.dice, 3), score(each.hd95_max, 1), each.run].map(cell => element("td", cell)));
      if (each === method) line.setAttribute("aria-current", "true");
      return line;
    }));
    place.querySelector(".scores th:nth-child(3)").textContent = shown.unit ? `HD95 (max, ${shown.unit})` : "HD95 (max)";
  }

  function say(shown, method) {
    const unit = shown.unit && method?.hd95_max != null ? ` ${shown.unit}` : "";
    const scores = method ? `${method.name}: Dice ${score(method.dice, 3)}, HD95 (max) ${score(method.hd95_max, 1)}${unit}.` : "";
    const where = `Patient ${shown.patient}, scan ${shown.scan}, slice ${shown.slice} of ${shown.slices}; split ${shown.split}, seed ${shown.seed}.`;
    place.querySelector(".said").replaceChildren(element("strong", scores), document.createElement("br"), where);
    place.querySelector(".place").textContent = `${patient.selectedIndex + 1} of ${patient.length}`;
  }

  function show() {
    const shown = cases[patient.value];
    const method = shown.rows.find(each => each.name === row.value);
    drawLayers(shown, method);
    listClasses(shown);
    listScores(shown, method);
    say(shown, method);
  }

  // Each choice settles what the next one offers.
  const steps = [
    () => offer(dataset, pairs(cases, "dataset", "dataset")),
    () => offer(column, pairs(cases.filter(each => each.dataset === dataset.value), "column", "format")),
    () => offer(patient, here().map(each => [cases.indexOf(each), each.name])),
    () => offer(row, cases[patient.value].rows.map(each => [each.name, each.name])),
    show,
  ];
  const from = number => steps.slice(number).forEach(step => step());
  [dataset, column, patient, row].forEach((select, number) => select.addEventListener("change", () => from(number + 1)));
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    named(name).addEventListener("click", () => {
      patient.selectedIndex = (patient.selectedIndex + step + patient.length) % patient.length; // round the end
      from(3);
    });
  }
  place.querySelector("fieldset").addEventListener("change", show);
  from(0);
  document.querySelector(".unscripted").hidden = true;
  place.hidden = false;
}

document.querySelectorAll(".grid").forEach(filterable);
document.querySelectorAll(".grid table").forEach(sortable);
const data = document.getElementById("case-data");
if (data) browse(document.querySelector(".browser"), JSON.parse(data.textContent));
