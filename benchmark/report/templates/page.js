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

// Cases: choose one, step to its neighbours, and see what every method made of it.

// Puts options [value, text] into a select; what was chosen stays chosen if its text is still there.
function offer(select, options) {
  const chosen = select.selectedOptions[0]?.text;
  select.replaceChildren(...options.map(([value, name]) => new Option(name, value)));
  select.selectedIndex = Math.max(0, options.findIndex(([, name]) => name === chosen));
}

function pairs(cases, value, name) {
  return [...new Map(cases.map(each => [each[value], each[name]]))];
}

function element(tag, content = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

function score(value, digits) {
  return value === null ? "not defined" : value.toFixed(digits);
}

// One picture: layers [name, picture] over each other, with a name below.
function tile(layers, name, below) {
  const stage = element("div");
  stage.className = "stage";
  for (const [layer, picture] of layers) {
    const image = element("img");
    image.dataset.layer = layer;
    image.src = picture;
    image.alt = `${layer}: ${name}`;
    stage.append(image);
  }
  const made = element("figure");
  const caption = element("figcaption");
  caption.append(element("strong", name), element("br"), below);
  made.append(stage, caption);
  return made;
}

function browse(place, { cases, colours, open }) {
  const named = name => place.querySelector(`[name="${name}"]`);
  const [dataset, column, patient] = ["dataset", "column", "case"].map(named);
  const tiles = place.querySelector(".tiles");
  const here = () => cases.filter(each => each.dataset === dataset.value && each.column === column.value);

  function draw({ layers, rows, name, unit }) {
    const wanted = ["image", "prediction", "truth", "marks"].filter(layer => named(layer).checked);
    const below = each => `Dice ${score(each.dice, 3)}, HD95 (max) ${score(each.hd95_max, 1)}${each.hd95_max === null ? "" : ` ${unit}`}`;
    tiles.replaceChildren(
      tile([["image", layers.image]], "Image", name),
      tile([["image", layers.image], ["marks", layers.marks]], "Marks", "of a training scan like this"),
      tile([["image", layers.image], ["filled", layers.filled]], "Truth", "in all classes"),
      ...rows.map(each => {
        const pictures = { ...layers, prediction: each.picture };
        const made = tile(wanted.map(layer => [layer, pictures[layer]]), each.name, below(each));
        made.title = `run ${each.run}`;
        return made;
      }),
    );
  }

  function listClasses(shown) {
    place.querySelector(".legend").replaceChildren(...shown.classes.map((name, number) => {
      const entry = element("li");
      const swatch = element("i");
      swatch.style.backgroundColor = colours[number % colours.length];
      entry.append(swatch, number ? name : `${name} (marks only)`);
      return entry;
    }));
  }

  function show() {
    const shown = cases[patient.value];
    draw(shown);
    listClasses(shown);
    place.querySelector(".said").textContent =
      `Patient ${shown.patient}, scan ${shown.scan}, slice ${shown.slice} of ${shown.slices}; split ${shown.split}, seed ${shown.seed}.`;
    place.querySelector(".place").textContent = `${patient.selectedIndex + 1} of ${patient.length}`;
  }

  // Each choice settles what the next one offers.
  const steps = [
    () => offer(dataset, pairs(cases, "dataset", "dataset")),
    () => offer(column, pairs(cases.filter(each => each.dataset === dataset.value), "column", "format")),
    () => offer(patient, here().map(each => [cases.indexOf(each), each.name])),
    show,
  ];
  const from = number => steps.slice(number).forEach(step => step());
  [dataset, column, patient].forEach((select, number) => select.addEventListener("change", () => from(number + 1)));
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    named(name).addEventListener("click", () => {
      patient.selectedIndex = (patient.selectedIndex + step + patient.length) % patient.length; // round the end
      show();
    });
  }
  place.querySelector("fieldset").addEventListener("change", show);

  // The cursor of one picture is seen in all.
  tiles.addEventListener("pointermove", event => {
    const box = event.target.closest(".stage")?.getBoundingClientRect();
    tiles.classList.toggle("pointed", Boolean(box));
    if (!box) return;
    tiles.style.setProperty("--x", `${100 * (event.clientX - box.left) / box.width}%`);
    tiles.style.setProperty("--y", `${100 * (event.clientY - box.top) / box.height}%`);
  });
  tiles.addEventListener("pointerleave", () => tiles.classList.remove("pointed"));

  function go(number) {
    steps[0]();
    dataset.value = cases[number].dataset;
    steps[1]();
    column.value = cases[number].column;
    steps[2]();
    patient.value = number;
    show();
  }
  for (const link of document.querySelectorAll("a[data-case]")) link.addEventListener("click", () => go(link.dataset.case));
  go(open[0]);
  document.querySelector(".unscripted").hidden = true;
  place.hidden = false;
}

// A link to a part unfolds it, and paper shows all of them.
function unfold(link) {
  const part = document.getElementById(link.slice(1));
  if (part?.tagName === "DETAILS") part.open = true;
}

document.querySelectorAll(".grid").forEach(filterable);
document.querySelectorAll(".grid table").forEach(sortable);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => unfold(link.hash));
unfold(location.hash);
addEventListener("beforeprint", () => document.querySelectorAll(".part").forEach(part => { part.open = true; }));
const data = document.getElementById("case-data");
if (data) browse(document.querySelector(".browser"), JSON.parse(data.textContent));
