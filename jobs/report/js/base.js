"use strict";

/* What all scripts of the page share: its data, elements, and numbers as people read them. */

// biome-ignore lint/style/useConst: a live page replaces it (live.js)
let data = JSON.parse(document.getElementById("payload").textContent);

const byId = (id) => document.getElementById(id);

/** An element with these properties or attributes. Texts among the children stay texts. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) {
      node[name] = value;
    } else {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Options of a select: pairs of a value and a text. Keeps what was chosen, if it is still there. */
function setOptions(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  if (pairs.some(([value]) => value === before)) {
    select.value = before;
  }
}

const fieldOf = (name) => data.fields.find((field) => field.name === name);

function cellOf(row, name) {
  if (name === "id") {
    return row.id;
  }
  const place = data.fields.findIndex((field) => field.name === name);
  return place < 0 ? null : row.values[place];
}

/** A number with as many digits as say something. */
function digits(value) {
  if (value === null || value === undefined) {
    return "–";
  }
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 10000) {
    return Math.round(value).toLocaleString("en");
  }
  if (size >= 100) {
    return value.toFixed(1);
  }
  return size >= 1 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
}

function format(value, field) {
  if (value === null || value === undefined) {
    return "–";
  }
  if (typeof value !== "number") {
    return String(value);
  }
  const text = field.unit === "dB" ? value.toFixed(2) : digits(value);
  return field.unit ? `${text} ${field.unit}` : text;
}

/** A table of a payload: ``{title, columns, numeric, rows}``. */
function tableOf(table) {
  const cells = (row, tag) =>
    row.map((value, i) =>
      make(
        tag,
        { className: table.numeric[i] ? "number" : "", ...(tag === "th" && { scope: "col" }) },
        typeof value === "number" ? digits(value) : (value ?? "–"),
      ),
    );
  return make(
    "table",
    {},
    make("caption", { className: "unseen" }, table.title),
    make("thead", {}, make("tr", {}, ...cells(table.columns, "th"))),
    make("tbody", {}, ...table.rows.map((row) => make("tr", {}, ...cells(row, "td")))),
  );
}

function box(title, ...children) {
  return make("div", { className: "box" }, make("h3", {}, title), ...children);
}

/** A part that is as wide as it likes and scrolls; by the keyboard too. */
function scrolling(label, ...children) {
  const properties = { className: "scroll", tabIndex: 0, role: "region", "aria-label": label };
  return make("div", properties, ...children);
}
