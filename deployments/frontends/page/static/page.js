// The page: pictures come in, each is asked about once, and everything after that happens in the browser.

import { classParameters, curlCommand } from "./curl.js";
import { download, featureCollection, hasPlaces } from "./geojson.js";
import { element, fillCard, fillClasses, fillRows, fillStages } from "./panels.js";
import { Pictures } from "./pictures.js";
import { FLOOR, ServiceError, modelCard, modelList, useModel } from "./service.js";
import { Stage } from "./stage/stage.js";

const $ = (id) => document.getElementById(id);
const switchedOff = new Set(); // class ids; stays for the next picture, as the slider does
let counters = new Map(); // class id → the element that counts its boxes
let visible = new Set(); // indexes of the boxes that pass the filters
let announcing;

const stage = new Stage(
  {
    frame: $("frame"), image: $("picture"), overlay: $("overlay"),
    viewer: $("viewer"), canvas: $("canvas"), readout: $("where"), natural: $("natural"),
  },
  pointFromPicture,
);
const pictures = new Pictures($("strip"), render);

// --- what is known of the chosen picture -----------------------------------------------------------------------

async function render(picture) {
  const { state, error } = picture;
  const busy = state === "waiting" || state === "busy";
  $("stage").setAttribute("aria-busy", busy);
  $("progress").hidden = $("cancel").hidden = !busy;
  $("invitation").hidden = true;
  $("problem").hidden = state !== "failed";
  for (const id of ["filters", "found", "timing", "request", "zoom", "detail", "map", "geojson"]) $(id).hidden = state !== "done";
  stage.clear();
  if (busy) say(`${picture.name}: looking for objects …`);
  if (state === "failed") {
    $("problem-words").textContent = sentence(error.message);
    $("problem-code").textContent = error instanceof ServiceError ? `${error.code} · ${error.status}` : error.name;
    say(picture.name);
  }
  await stage.show(picture);
  if (state !== "done" || picture !== pictures.chosen) return;
  const { boxes, timing_ms: timing } = picture.answer;
  $("zoom").hidden = stage.face !== "image";
  $("map").hidden = $("geojson").hidden = !hasPlaces(picture.answer);
  counters = fillClasses($("classes"), boxes, switchedOff);
  fillStages($("stages"), timing, picture.roundTrip);
  filter();
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** Tells the eye at once, and a screen reader when the slider has come to rest. */
function say(text) {
  $("caption").textContent = text;
  clearTimeout(announcing);
  announcing = setTimeout(() => ($("status").textContent = text), 400);
}

// --- filtering: nothing is asked again -------------------------------------------------------------------------

function filter() {
  const least = Number($("confidence").value);
  $("confidence-value").textContent = least.toFixed(2);
  const picture = pictures.chosen;
  if (picture?.state !== "done") return;
  const { boxes, picture: size } = picture.answer;
  const counts = new Map();
  visible = new Set();
  boxes.forEach((box, index) => {
    if (box.confidence < least) return;
    counts.set(box.class_id, (counts.get(box.class_id) ?? 0) + 1);
    if (!switchedOff.has(box.class_id)) visible.add(index);
  });
  stage.filter(visible);
  const listed = fillRows($("rows"), boxes, visible);
  $("listed").textContent = listed < visible.size ? `The ${listed} most confident of ${visible.size} are listed.` : "";
  for (const [id, counter] of counters) counter.textContent = counts.get(id) ?? 0;
  makeTabStop($("rows").rows[0]);
  point(null);
  $("picture").alt = `${picture.name} with ${visible.size} boxes`;
  $("canvas").ariaLabel = `${picture.name} with ${visible.size} boxes. Arrow keys move, plus and minus zoom, 0 shows the whole.`;
  $("confidence").setAttribute("aria-valuetext", `${least.toFixed(2)}, ${visible.size} boxes`);
  say(`${visible.size} of ${boxes.length} boxes · ${picture.name} · ${size.width} × ${size.height}`);
  writeCommand(picture, least);
}

function writeCommand(picture, least) {
  const present = [...counters.keys()];
  const kept = present.filter((id) => !switchedOff.has(id));
  const nothing = present.length > 0 && kept.length === 0;
  const classes = kept.length < present.length ? classParameters(kept, pictures.card?.classes ?? {}) : null;
  $("curl").textContent = nothing
    ? "# every class is switched off: there is nothing to ask for"
    : curlCommand(picture, least, classes, $("drawn").checked);
  $("copy").disabled = nothing;
  $("copied").textContent = "";
}

$("confidence").addEventListener("input", filter);
$("drawn").addEventListener("change", filter);
$("classes").addEventListener("change", ({ target }) => {
  if (target.checked) switchedOff.delete(Number(target.value));
  else switchedOff.add(Number(target.value));
  filter();
});

// --- one box: pointed at in the picture, or reached in the table -----------------------------------------------

const focusedRow = () => document.activeElement.closest("#rows tr");
const indexOf = (row) => (row ? Number(row.dataset.index) : null);
const rowOf = (index) => [...$("rows").rows].find((row) => indexOf(row) === index);

function point(index) {
  stage.highlight(index);
  for (const row of $("rows").rows) row.classList.toggle("chosen", indexOf(row) === index);
  const box = index === null ? null : pictures.chosen.answer.boxes[index];
  $("detail").textContent = box
    ? `${box.class_name} ${box.confidence.toFixed(4)} · x ${box.x1}–${box.x2}, y ${box.y1}–${box.y2}${turn(box)}`
    : "Point at a box, or walk through the table.";
}

const turn = ({ angle }) => (angle === undefined ? "" : `, turned by ${((angle * 180) / Math.PI).toFixed(1)}°`);

function pointFromPicture(index, chosen) {
  point(index ?? indexOf(focusedRow()));
  if (index === null) return;
  const row = rowOf(index);
  if (!row) return; // of thousands not all are listed
  const list = row.closest(".rows");
  list.scrollTop = row.offsetTop - list.clientHeight / 2; // the list alone: scrollIntoView would move the page
  if (chosen) focusRow(row);
}

function focusRow(row) {
  makeTabStop(row);
  row.querySelector("button").focus({ preventScroll: true });
}

/** Of all rows the tab key stops at one; the arrow keys reach the others. */
function makeTabStop(row) {
  for (const button of $("rows").querySelectorAll("button")) button.tabIndex = -1;
  if (row) row.querySelector("button").tabIndex = 0;
}

$("rows").addEventListener("pointerover", ({ target }) => point(indexOf(target.closest("tr"))));
$("rows").addEventListener("pointerleave", () => point(indexOf(focusedRow())));
$("rows").addEventListener("focusout", () => point(null));
$("rows").addEventListener("click", ({ target }) => focusRow(target.closest("tr")));
$("rows").addEventListener("focusin", ({ target }) => {
  const index = indexOf(target.closest("tr"));
  point(index);
  stage.reveal(index, pictures.chosen.answer.boxes[index]);
});
$("rows").addEventListener("keydown", (event) => {
  const rows = [...$("rows").rows];
  const at = rows.indexOf(focusedRow());
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (!rows[to]) return;
  event.preventDefault();
  focusRow(rows[to]);
  rows[to].scrollIntoView({ block: "nearest" });
});

// --- pictures come in ------------------------------------------------------------------------------------------

function take(files, origin) {
  const taken = pictures.addFiles(files, origin);
  $("notice").textContent = !taken
    ? "That was no picture file."
    : taken < files.length
      ? `The first ${taken} of ${files.length} pictures were taken.`
      : "";
}

for (const input of [$("files"), $("camera")]) {
  input.addEventListener("change", () => {
    take([...input.files], "file");
    input.value = ""; // the same file may be chosen again
  });
}
addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) take(event.clipboardData.files, "paste");
});
addEventListener("dragover", (event) => {
  event.preventDefault(); // the browser would open the file instead
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files, "file");
});

// --- buttons ---------------------------------------------------------------------------------------------------

$("again").addEventListener("click", () => pictures.again());
$("tiles").addEventListener("change", () => pictures.cut($("tiles").checked));
$("cancel").addEventListener("click", () => pictures.cancel());
$("zoom").addEventListener("click", () => {
  const actual = $("scroller").classList.toggle("actual");
  $("zoom").setAttribute("aria-pressed", actual);
  $("scroller").tabIndex = actual ? 0 : -1; // the arrow keys scroll it then, in every browser
});
for (const button of document.querySelectorAll("[data-key]"))
  button.addEventListener("click", () => stage.viewer.press(button.dataset.key));
$("map").addEventListener("click", () => {
  stage.map = !stage.map;
  $("map").setAttribute("aria-pressed", stage.map);
  render(pictures.chosen);
});
$("geojson").addEventListener("click", () => {
  const picture = pictures.chosen;
  download(`${picture.name.replace(/\.[^.]*$/, "")}.geojson`, featureCollection(picture, visible));
});
$("copy").addEventListener("click", async () => {
  $("copied").textContent = (await copy()) ? "Copied." : "Selected: press Ctrl+C.";
});

async function copy() {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    return true;
  } catch {
    // Browsers give no clipboard to a page that came over plain HTTP from another host.
    getSelection().selectAllChildren($("curl"));
    return document.execCommand("copy");
  }
}

// --- the model: which of several, and its card ----------------------------------------------------------------

async function showModel() {
  const chosen = $("models").value;
  let card, failure;
  try {
    card = await modelCard();
  } catch (error) {
    failure = error;
  }
  if ($("models").value !== chosen) return; // another one was chosen meanwhile
  if (card) {
    pictures.card = card;
    fillCard($("card"), card);
    $("confidence").value = card.confidence;
  } else $("card").replaceChildren(); // it is of the model before
  $("served").textContent = card ? `${card.name} on ${card.engine}` : sentence(failure.message);
  filter();
}

function offerModels(models) {
  const options = models.map(({ name, state, replicas }) => {
    const option = element("option", "", replicas ? name : `${name} (${state})`);
    option.value = name;
    option.disabled = !replicas;
    return option;
  });
  $("models").replaceChildren(...options);
  const answering = models.filter(({ replicas }) => replicas);
  const first = answering.find(({ loaded }) => loaded !== false) ?? answering[0]; // opening the page loads no model
  $("models").value = first?.name ?? "";
  $("choice").hidden = false;
}

$("models").addEventListener("change", () => {
  useModel($("models").value);
  switchedOff.clear(); // another model has other classes
  pictures.card = null; // and other limits
  pictures.askAnew();
  showModel();
});

$("confidence").min = FLOOR;
try {
  const models = await modelList();
  if (models) {
    offerModels(models);
    if ($("models").value) useModel($("models").value);
  }
} catch (error) {
  $("served").textContent = sentence(error.message);
}
await showModel();
