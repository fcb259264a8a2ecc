"use strict";

/* The gallery: cards that are searched, filtered and sorted. */

const gallery = { filters: [], list: [], cards: new Map(), mode: "side" };
const CARD_FIELDS = 4; // numbers under a picture

function sortChoices() {
  const fields = data.fields.map((field) => [field.name, field.label]);
  setOptions(byId("sort"), [["manifest", "Order of the manifest"], ["id", "Id"], ...fields]);
}

function orderChoices() {
  const field = fieldOf(byId("sort").value);
  const number = field?.kind === "number";
  let choices = [
    ["up", number ? "Lowest first" : "From the start"],
    ["down", number ? "Highest first" : "From the end"],
  ];
  if (number) {
    choices.push(["median", "Nearest the median"]);
  }
  if (field?.better) {
    choices = [["best", "Best first"], ["worst", "Worst first"], ...choices];
  }
  setOptions(byId("order"), choices);
}

function comparer(name, order) {
  const field = fieldOf(name);
  if (name === "manifest") {
    return order === "down" ? (a, b) => b.place - a.place : (a, b) => a.place - b.place;
  }
  if (field?.kind !== "number") {
    const sign = order === "down" ? -1 : 1;
    const text = (row) => String(cellOf(row, name) ?? "");
    return (a, b) => sign * text(a).localeCompare(text(b), "en", { numeric: true });
  }
  const known = data.rows.map((row) => cellOf(row, name)).filter((value) => value !== null);
  const median = known.sort((a, b) => a - b)[Math.floor(known.length / 2)];
  const goodness = { high: (v) => -v, low: (v) => v, one: (v) => Math.abs(Math.log(v || 1e-9)) };
  const key = {
    best: goodness[field.better],
    worst: (value) => -goodness[field.better](value),
    up: (value) => value,
    down: (value) => -value,
    median: (value) => Math.abs(value - median),
  }[order];
  const rank = (row) => {
    const value = cellOf(row, name);
    return value === null ? Number.POSITIVE_INFINITY : key(value); // rows without it come last
  };
  return (a, b) => {
    const [x, y] = [rank(a), rank(b)];
    return x === y ? a.place - b.place : x < y ? -1 : 1;
  };
}

function matches(row, words) {
  for (const filter of gallery.filters) {
    const value = cellOf(row, filter.name);
    if (filter.kind === "number") {
      const { low, high } = filter;
      if ((low !== null || high !== null) && value === null) {
        return false;
      }
      if ((low !== null && value < low) || (high !== null && value > high)) {
        return false;
      }
    } else if (filter.value !== "" && String(value ?? "") !== filter.value.slice(1)) {
      return false;
    }
  }
  return words.every((word) => row.text.includes(word));
}

/** The gallery once more, after anything has changed. */
function showGallery() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  gallery.list = data.rows
    .filter((row) => matches(row, words))
    .sort(comparer(byId("sort").value, byId("order").value));
  const list = byId("cards");
  list.classList.toggle("single", gallery.mode !== "side");
  list.replaceChildren(...gallery.list.map(cardOf));
  const [shown, all] = [gallery.list.length, data.rows.length];
  byId("count").textContent =
    shown === all ? "" : `${shown} of the ${all} images here pass the filters.`;
}

function cardOf(row) {
  const known = gallery.cards.get(row.key);
  if (known?.mode === gallery.mode && known.row === row) {
    return known.node;
  }
  const node = make("li", { className: "card" });
  if (row.pictures.length) {
    const mode = fits(row, gallery.mode) ? gallery.mode : "side";
    const keys = row.pictures.map((picture) => picture.key).filter((key) => key !== "uncertainty");
    const stage = stageOf(row, mode, { keys });
    stage.addEventListener("click", (event) => {
      if (event.target.type !== "range") {
        openViewer(row);
      }
    });
    node.append(stage);
  } else if (row.error) {
    node.append(make("p", { className: "error" }, row.error));
  }
  const open = make("button", { type: "button" }, row.id);
  open.addEventListener("click", () => openViewer(row));
  node.append(
    make("div", { className: "card-text" }, make("h3", {}, open), chipsOf(row), ...notesOf(row)),
  );
  gallery.cards.set(row.key, { mode: gallery.mode, row, node });
  return node;
}

/** The numbers that say most of a row, and that by which the gallery is sorted. */
function chipsOf(row) {
  const sorted = byId("sort").value;
  const told = data.fields.filter(
    (field) => field.kind === "number" && !field.own && cellOf(row, field.name) !== null,
  );
  const shown = told.slice(0, CARD_FIELDS);
  const extra = fieldOf(sorted);
  if (extra && !shown.includes(extra)) {
    shown.push(extra);
  }
  const chips = shown.map((field) =>
    make("li", {}, `${field.label} `, make("b", {}, format(cellOf(row, field.name), field))),
  );
  return make("ul", { className: "chips" }, ...chips);
}

function notesOf(row) {
  const warnings = row.warnings.map((text) => make("p", { className: "warning" }, `⚠ ${text}`));
  return row.note ? [...warnings, make("p", { className: "quiet" }, row.note)] : warnings;
}

function addFilter() {
  gallery.filters.push({ name: data.fields[0].name, kind: "number", low: null, high: null });
  showFilters();
  byId("filters").lastChild.querySelector("select").focus();
}

function showFilters() {
  byId("filters").replaceChildren(...gallery.filters.map(filterBox));
}

function filterBox(filter) {
  const name = make("select");
  setOptions(
    name,
    data.fields.map((field) => [field.name, field.label]),
  );
  name.value = filter.name;
  const remove = make("button", { type: "button", className: "plain" }, "Remove");
  const inputs = make("span", { className: "filters" });
  const kind = () => {
    const field = fieldOf(filter.name);
    filter.kind = field.kind;
    inputs.replaceChildren(...(field.kind === "number" ? bounds(filter) : [choice(filter)]));
  };
  name.addEventListener("change", () => {
    Object.assign(filter, { name: name.value, low: null, high: null, value: "" });
    kind();
    showGallery();
  });
  remove.addEventListener("click", () => {
    gallery.filters = gallery.filters.filter((other) => other !== filter);
    showFilters();
    showGallery();
    byId("add-filter").focus();
  });
  kind();
  return make(
    "fieldset",
    {},
    make("legend", { className: "unseen" }, "Filter"),
    make("label", {}, "Only where", name),
    inputs,
    remove,
  );
}

function bounds(filter) {
  return [
    ["low", "at least"],
    ["high", "at most"],
  ].map(([end, text]) => {
    const input = make("input", { type: "number", step: "any", value: filter[end] ?? "" });
    input.addEventListener("input", () => {
      filter[end] = input.value === "" ? null : Number(input.value);
      showGallery();
    });
    return make("label", {}, text, input);
  });
}

function choice(filter) {
  const select = make("select");
  const values = new Set(data.rows.map((row) => String(cellOf(row, filter.name) ?? "")));
  const texts = [...values].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const pairs = texts.map((text) => [`=${text}`, text || "(nothing)"]);
  setOptions(select, [["", "(anything)"], ...pairs]);
  select.value = filter.value ?? "";
  filter.value = select.value;
  select.addEventListener("change", () => {
    filter.value = select.value;
    showGallery();
  });
  return make("label", {}, "is", select);
}

function prepareRows() {
  data.rows.forEach((row, place) => {
    row.place = place;
    row.text = [row.id, row.caption, row.error, ...row.values].join(" ").toLowerCase();
  });
}

function chooseModes() {
  const modes = MODES.filter(
    ([mode]) => mode === "side" || data.rows.some((row) => fits(row, mode)),
  );
  setOptions(
    byId("mode"),
    modes.filter(([mode]) => mode !== "process").map(([mode, text]) => [mode, text]),
  );
}

function startGallery() {
  prepareRows();
  sortChoices();
  byId("sort").value = data.sort.field;
  orderChoices();
  byId("order").value = data.sort.order;
  chooseModes();
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", showGallery);
  byId("sort").addEventListener("change", () => {
    orderChoices();
    gallery.cards.clear();
    showGallery();
  });
  byId("order").addEventListener("change", showGallery);
  byId("mode").addEventListener("change", () => {
    gallery.mode = byId("mode").value;
    showGallery();
  });
  byId("add-filter").addEventListener("click", addFilter);
  showGallery();
}
