"use strict";

/* One row in full: its pictures in every mode, zoomed together, and all that is known of it. */

const viewer = { row: null, mode: "side", pair: null, zoom: 1, x: 0.5, y: 0.5, missing: false };
const MOST_ZOOM = 64;
const PIXEL_SIDE = 8; // of a picture's pixel on the screen, by the button "Pixels"

function openViewer(row) {
  viewer.row = row;
  viewer.pair = null;
  viewer.missing = false;
  if (!fits(row, viewer.mode)) {
    viewer.mode = "side";
  }
  zoomTo(1);
  byId("viewer-title").textContent = row.id;
  const place = gallery.list.indexOf(row);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= gallery.list.length - 1;
  showModes();
  showStage();
  showFacts();
  if (!byId("viewer").open) {
    byId("viewer").showModal();
  }
}

function step(by) {
  const row = gallery.list[gallery.list.indexOf(viewer.row) + by];
  if (row) {
    openViewer(row);
  }
}

function showModes() {
  const modes = MODES.filter(([mode]) => fits(viewer.row, mode));
  byId("viewer-modes").replaceChildren(
    ...modes.map(([mode, text]) => {
      const radio = make("input", { type: "radio", name: "mode", value: mode });
      radio.checked = mode === viewer.mode;
      radio.addEventListener("change", () => setMode(mode));
      return make("label", {}, radio, text);
    }),
  );
}

function setMode(mode) {
  if (!viewer.row || !fits(viewer.row, mode)) {
    return;
  }
  viewer.mode = mode;
  viewer.pair = null;
  for (const radio of byId("viewer-modes").querySelectorAll("input")) {
    radio.checked = radio.value === mode;
  }
  showStage();
}

function showStage() {
  const { row, mode } = viewer;
  byId("viewer-note").textContent = row.note;
  const paired = mode !== "side" && mode !== "process" && row.pictures.length > 1;
  for (const id of ["left", "right"]) {
    byId(id).parentElement.hidden = !paired;
  }
  if (!row.pictures.length) {
    byId("viewer-stage").replaceChildren(make("p", { className: "error" }, row.error || row.note));
    return;
  }
  if (mode === "process") {
    byId("viewer-stage").replaceChildren(processOf(row));
    applyZoom();
    return;
  }
  const options = { show: fullImage };
  if (paired) {
    options.pair = viewer.pair ?? usualPair(row, mode);
    const pairs = row.pictures.map((picture) => [picture.key, picture.label]);
    ["left", "right"].forEach((id, i) => {
      setOptions(byId(id), pairs);
      byId(id).value = options.pair[i];
    });
  }
  byId("viewer-stage").replaceChildren(stageOf(row, mode, options));
  applyZoom();
}

/** An image that begins as the preview, and becomes the full picture when that is there. */
function fullImage(picture, properties = {}) {
  const node = image(viewer.row, picture, properties);
  if (picture.full) {
    const full = new Image();
    full.addEventListener("load", () => {
      node.src = picture.full;
    });
    full.addEventListener("error", () => {
      viewer.missing = true;
      byId("viewer-note").textContent =
        "The full pictures are not beside this page: previews are shown.";
    });
    full.src = picture.full;
  }
  return node;
}

function zoomTo(zoom, at = null) {
  const before = viewer.zoom;
  const after = Math.min(MOST_ZOOM, Math.max(1, zoom));
  if (at && after > 1) {
    // What lies under the pointer stays there.
    for (const axis of ["x", "y"]) {
      const seen = viewer[axis] + (at[axis] - viewer[axis]) / before;
      viewer[axis] = clamp((seen - at[axis] / after) / (1 - 1 / after));
    }
  }
  viewer.zoom = after;
  if (after === 1) {
    viewer.x = 0.5;
    viewer.y = 0.5;
  }
  applyZoom();
}

const clamp = (value) => Math.min(1, Math.max(0, value));

function moveBy(dx, dy) {
  if (viewer.zoom > 1) {
    viewer.x = clamp(viewer.x - dx / (viewer.zoom - 1));
    viewer.y = clamp(viewer.y - dy / (viewer.zoom - 1));
    applyZoom();
  }
}

function applyZoom() {
  const stage = byId("viewer-stage");
  stage.style.setProperty("--zoom", viewer.zoom);
  stage.style.setProperty("--x", viewer.x);
  stage.style.setProperty("--y", viewer.y);
  stage.classList.toggle("pixels", viewer.zoom >= pixelZoom() / 4);
  stage.firstChild?.classList.toggle("zoomed", viewer.zoom > 1);
  byId("zoom-level").textContent = `${digits(viewer.zoom)} ×`;
}

/** The zoom at which pixels of the restored picture are plain squares. */
function pixelZoom() {
  const view = byId("viewer-stage").querySelector(".view");
  const picture = viewer.row && (pictureOf(viewer.row, "restored") ?? viewer.row.pictures[0]);
  return view && picture ? Math.max(2, (PIXEL_SIDE * picture.width) / view.clientWidth) : 2;
}

function showFacts() {
  const { row } = viewer;
  const rows = data.fields.map((field, i) => [field.label, format(row.values[i], field)]);
  const known = rows.filter(([, text]) => text !== "–" && text !== "");
  byId("viewer-facts").replaceChildren(
    make("p", { className: "quiet" }, row.caption),
    ...row.warnings.map((text) => make("p", { className: "warning" }, `⚠ ${text}`)),
    make(
      "dl",
      { className: "facts" },
      ...known.map(([label, text]) => make("div", {}, make("dt", {}, label), make("dd", {}, text))),
    ),
  );
}

function viewerKey(event) {
  if (event.target.matches("select, input:not([type=radio])") || event.ctrlKey || event.metaKey) {
    return;
  }
  const mode = MODES.find(([, , key]) => key === event.key.toLowerCase());
  const moves = {
    ArrowLeft: [0.1, 0],
    ArrowRight: [-0.1, 0],
    ArrowUp: [0, 0.1],
    ArrowDown: [0, -0.1],
  };
  if (mode) {
    setMode(mode[0]);
  } else if (event.key === "+" || event.key === "=") {
    zoomTo(viewer.zoom * 1.5);
  } else if (event.key === "-") {
    zoomTo(viewer.zoom / 1.5);
  } else if (event.key === "0") {
    zoomTo(1);
  } else if (event.key in moves && viewer.zoom > 1) {
    moveBy(...moves[event.key]);
  } else if (event.target.type !== "radio" && event.key === "ArrowLeft") {
    step(-1);
  } else if (event.target.type !== "radio" && event.key === "ArrowRight") {
    step(1);
  } else {
    return;
  }
  event.preventDefault();
}

/** Where in its picture an event is, from 0 to 1; null outside of pictures. */
function placeOf(event) {
  const area = event.target.closest?.(".view")?.getBoundingClientRect();
  if (!area) {
    return null;
  }
  const x = (event.clientX - area.left) / area.width;
  const y = (event.clientY - area.top) / area.height;
  return { x, y, width: area.width, height: area.height };
}

function startViewer() {
  const stage = byId("viewer-stage");
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("zoom-in").addEventListener("click", () => zoomTo(viewer.zoom * 1.5));
  byId("zoom-out").addEventListener("click", () => zoomTo(viewer.zoom / 1.5));
  byId("zoom-fit").addEventListener("click", () => zoomTo(1));
  byId("zoom-pixels").addEventListener("click", () => zoomTo(pixelZoom()));
  for (const id of ["left", "right"]) {
    byId(id).addEventListener("change", () => {
      viewer.pair = [byId("left").value, byId("right").value];
      showStage();
    });
  }
  byId("viewer").addEventListener("keydown", viewerKey);
  stage.addEventListener(
    "wheel",
    (event) => {
      const at = placeOf(event);
      if (at) {
        event.preventDefault();
        zoomTo(viewer.zoom * (event.deltaY < 0 ? 1.25 : 0.8), at);
      }
    },
    { passive: false },
  );
  stage.addEventListener("pointerdown", (event) => {
    const start = placeOf(event);
    if (!start || viewer.zoom === 1) {
      return;
    }
    stage.setPointerCapture(event.pointerId);
    const move = (next) => moveBy(next.movementX / start.width, next.movementY / start.height);
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", () => stage.removeEventListener("pointermove", move), {
      once: true,
    });
  });
}
