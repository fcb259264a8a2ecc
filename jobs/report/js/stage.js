"use strict";

/* Stages: a row's pictures side by side, one wiped over another, their difference, a layer. */

const MODES = [
  ["side", "Side by side", "s"],
  ["wipe", "Wipe", "w"],
  ["difference", "Difference", "d"],
  ["layer", "Uncertainty", "u"],
  ["process", "Process", "p"],
];
const GAIN = 4; // how many times a difference is magnified at first

const pictureOf = (row, key) => row.pictures.find((picture) => picture.key === key);

/** Whether a row has the pictures that a mode shows. */
function fits(row, mode) {
  switch (mode) {
    case "layer":
      return Boolean(pictureOf(row, "uncertainty"));
    case "process":
      return Boolean(row.steps?.length);
    case "side":
      return row.pictures.length > 0;
    default:
      return row.pictures.length > 1;
  }
}

/** The two pictures that a mode puts over each other where nobody has chosen others. */
function usualPair(row, mode) {
  const there = row.pictures.map((picture) => picture.key);
  const wanted = [...(data.pairs?.[mode] ?? []), ...usualKeys(mode)];
  for (const [left, right] of wanted) {
    if (there.includes(left) && there.includes(right)) {
      return [left, right];
    }
  }
  return [there[0], there[1] ?? there[0]];
}

function usualKeys(mode) {
  if (mode === "difference") {
    return [
      ["reference", "restored"],
      ["measured", "restored"],
    ];
  }
  return mode === "layer" ? [["restored", "uncertainty"]] : [["measured", "restored"]];
}

function image(row, picture, properties = {}) {
  return make("img", {
    alt: `${picture.label} picture of ${row.id}`,
    decoding: "async",
    draggable: false,
    src: picture.src,
    ...properties,
  });
}

function pane(label, ...children) {
  return make(
    "figure",
    { className: "pane" },
    make("div", { className: "view" }, ...children),
    make("figcaption", {}, label),
  );
}

function shapeOf(row) {
  const picture = pictureOf(row, "restored") ?? row.pictures[0];
  return picture ? picture.width / picture.height : 1;
}

/**
 * The pictures of a row in a mode.
 *
 * ``options``: ``pair``, the keys of two pictures; ``show``, which makes an image of a picture;
 * ``keys``, those of the pictures that stand side by side.
 */
function stageOf(row, mode, options = {}) {
  const show = options.show ?? ((picture, properties) => image(row, picture, properties));
  const stage = make("div", { className: `stage ${mode}` });
  stage.style.setProperty("--shape", shapeOf(row));
  if (mode === "side") {
    const shown = row.pictures.filter((p) => !options.keys || options.keys.includes(p.key));
    stage.append(...shown.map((picture) => pane(picture.label, show(picture))));
    stage.style.setProperty("--panes", shown.length);
    return make("div", {}, stage);
  }
  const [left, right] = (options.pair ?? usualPair(row, mode)).map((key) => pictureOf(row, key));
  const over = make("div", { className: "over" }, show(right, mode === "wipe" ? {} : { alt: "" }));
  const sign = { wipe: "|", difference: "−", layer: "under" }[mode];
  const label = `${left.label} ${sign} ${right.label}`;
  const view = pane(label, show(left), over);
  if (mode === "wipe") {
    view.firstChild.append(make("div", { className: "bar" }));
  }
  stage.append(view);
  return make("div", {}, stage, sliderOf(mode, stage, left, right));
}

/** What a mode is set by: where the wipe stands, how strong a layer or a difference is. */
function sliderOf(mode, stage, left, right) {
  const difference = mode === "difference";
  const start = { wipe: 50, layer: 70, difference: GAIN }[mode];
  const what = {
    wipe: `Wipe from ${left.label} to ${right.label}`,
    layer: `Strength of ${right.label}`,
    difference: "Magnification of the difference",
  }[mode];
  const told = make("span", {}, difference ? `× ${start}` : right.label);
  const range = make("input", {
    "aria-label": what,
    type: "range",
    min: difference ? 1 : 0,
    max: difference ? 16 : 100,
    value: start,
  });
  range.addEventListener("input", () => {
    if (difference) {
      stage.style.setProperty("--gain", range.value);
      told.textContent = `× ${range.value}`;
    } else {
      stage.style.setProperty("--at", range.value / 100);
    }
  });
  const first = difference ? "Magnified" : left.label;
  return make("div", { className: "control" }, make("span", {}, first), range, told);
}
