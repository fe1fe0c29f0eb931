// The page: strokes or pictures go to the server, its answers are shown. No state but `state`, no library.

const SIDE = 280; // units across the sheet, whatever its size on the screen
const SHARP = 3; // pixels of the sheet's canvas a unit
const PEN = 19; // units across a stroke: MNIST's, at the size that people write
const MARGIN = 24; // units of paper around the ink that is sent
const LONGEST = 112; // pixels of the longest side that is sent of a digit,
const LONGEST_NUMBER = 420; // and of a number

const at = (id) => document.getElementById(id);
const sheet = at("sheet").getContext("2d");
const announce = (text) => (at("status").textContent = text); // to screen readers
const complain = (text) => (at("problem").textContent = text);

const state = {
  strokes: [], // each an array of points {x, y, width} in units
  picture: null, // {file, bitmap, box of the digit} while a picture lies on the sheet in place of strokes
  writing: false,
  touched: 0, // when the newest ink was put down
  sheet: 0, // counts up when the sheet becomes another one, so that late answers are recognised
  several: false, // whether more than one digit is on it
  answered: 0, // which sheet the answer on the page is of
  past: [], // sheets {strokes, picture} that undo brings back, newest last,
  future: [], // and redo
};

// --- asking the server ---

async function ask(path, body) {
  const key = sessionStorage.getItem("key");
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const response = await fetch(path, body && { method: "POST", body, headers }).catch(() => {
    throw new Error("The server does not answer. Is it running?");
  });
  const answer = await response.json().catch(() => ({}));
  // A refusal that comes late may be of a key, or of none, that has been replaced since.
  if (response.status === 401 && key === sessionStorage.getItem("key")) at("key-form").hidden = false;
  if (!response.ok) throw new Error(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

/** Runs `task` at most once at a time; calls meanwhile become one more run, with what is newest then. */
function newest(task) {
  let running = false;
  let wanted = false;
  return async () => {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      await task().catch((error) => complain(error.message));
    }
    running = false;
  };
}

/** A task about what lies on the sheet; its answer is dropped if that is gone when it comes. */
function aboutTheSheet(path, show, longest = LONGEST) {
  return newest(async () => {
    if (isBlank()) return;
    const asked = { sheet: state.sheet, touched: state.touched, box: contentBox() };
    const answer = await ask(path(), contentFile(longest));
    if (asked.sheet === state.sheet) show(answer, asked);
  });
}

const predict = aboutTheSheet(() => "predict?input=1", showAnswer);
const readNumber = aboutTheSheet(() => "read", showNumber, LONGEST_NUMBER);
const explain = aboutTheSheet(() => "explain?method=gradcam", showHeat);
const features = aboutTheSheet(() => `features?layer=${at("layer").value}`, showFeatures);

function lookAgain() {
  predict();
  if (at("why").checked) explain();
  if (at("features").open) features();
}

// --- ink ---

const isBlank = () => !state.picture && !state.strokes.length;

/** [left, top, right, bottom] of all ink, in units. */
function inkBox(strokes) {
  const points = strokes.flat();
  const edge = (sign, axis) =>
    sign * points.reduce((most, point) => Math.max(most, sign * point[axis] + point.width / 2), -Infinity);
  return [edge(-1, "x"), edge(-1, "y"), edge(1, "x"), edge(1, "y")];
}

function drawStrokes(context, strokes, colour) {
  Object.assign(context, { strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  for (const points of strokes) {
    points.forEach((point, index) => {
      const before = points[index - 1] ?? point;
      const after = points[index + 1] ?? point;
      context.lineWidth = point.width;
      context.beginPath();
      context.moveTo((before.x + point.x) / 2, (before.y + point.y) / 2);
      // A hundredth of a unit makes a dot of a tap.
      context.quadraticCurveTo(point.x, point.y, (point.x + after.x) / 2 + 0.01, (point.y + after.y) / 2);
      context.stroke();
    });
  }
}

/** The ink with a margin as a small PNG, black on white. */
function inkFile(longest) {
  const [left, top, right, bottom] = inkBox(state.strokes);
  const width = right - left + 2 * MARGIN;
  const height = bottom - top + 2 * MARGIN;
  const zoom = Math.min(longest === LONGEST ? 1 : 2, longest / Math.max(width, height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * zoom, height * zoom];
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(zoom, zoom);
  context.translate(MARGIN - left, MARGIN - top);
  drawStrokes(context, state.strokes, "black");
  // toBlob waits for the browser to be idle, this does not.
  const base64 = canvas.toDataURL().split(",")[1];
  return new Blob([Uint8Array.from(atob(base64), (byte) => byte.charCodeAt())], { type: "image/png" });
}

// --- the sheet ---

const contentFile = (longest = LONGEST) => state.picture?.file ?? inkFile(longest);

/** Where the digit on the sheet lies, in units. */
function contentBox() {
  if (!state.picture) return inkBox(state.strokes);
  const [left, top, width, height] = state.picture.box;
  const [zoom, x, y] = fit(state.picture.bitmap);
  return [x + zoom * left, y + zoom * top, x + zoom * (left + width), y + zoom * (top + height)];
}

/** Zoom and offset that put a picture into the middle of the sheet. */
function fit({ width, height }) {
  const zoom = SIDE / Math.max(width, height);
  return [zoom, (SIDE - zoom * width) / 2, (SIDE - zoom * height) / 2];
}

function redraw() {
  sheet.clearRect(0, 0, SIDE, SIDE);
  const { bitmap } = state.picture ?? {};
  if (bitmap) {
    const [zoom, x, y] = fit(bitmap);
    sheet.imageSmoothingEnabled = zoom < 2; // small pictures show their pixels
    sheet.drawImage(bitmap, x, y, zoom * bitmap.width, zoom * bitmap.height);
  }
  drawStrokes(sheet, state.strokes, getComputedStyle(sheet.canvas).color);
  at("hint").hidden = !isBlank();
}

/** The sheet becomes another: what is known about the old one goes, and late answers about it too. */
function replaceSheet(strokes, picture = null) {
  Object.assign(state, { strokes, picture, writing: false, touched: performance.now(), sheet: state.sheet + 1 });
  clearHeat();
  complain("");
  redraw();
  if (isBlank()) showNothing();
  else lookAgain();
}

const remember = (there) => there.push({ strokes: [...state.strokes], picture: state.picture });

/** A change that undo takes back; what was written and read until now joins the last answers. */
function change(strokes, picture = null) {
  keepAnswer();
  remember(state.past);
  state.future = [];
  replaceSheet(strokes, picture);
}

/** The newest of `from` becomes the sheet, which goes to `to`. */
function turn(from, to) {
  if (!from.length) return;
  remember(to);
  const { strokes, picture } = from.pop();
  replaceSheet(strokes, picture);
}

const clear = () => change([]);
const undo = () => turn(state.past, state.future);
const redo = () => turn(state.future, state.past);

/** One of a few digits and numbers, written here. */
const trySample = () => change([SAMPLES.shift()].flatMap((one) => (SAMPLES.push(one), one.map(asStroke))));
const asStroke = (points) => points.map(([x, y]) => ({ x, y, width: PEN }));
const SAMPLES = [
  [[[95, 80], [140, 55], [180, 80], [165, 120], [135, 135], [180, 150], [190, 190], [145, 220], [95, 200]]],
  [[[80, 70], [200, 70], [190, 95], [120, 215]], [[105, 145], [180, 140]]],
  [[[20, 100], [80, 100], [45, 190]], [[120, 115], [145, 98], [165, 120], [115, 190], [172, 190]],
    [[230, 100], [210, 140], [205, 175], [225, 192], [250, 178], [240, 152], [212, 160]]],
  [[[110, 65], [105, 130], [150, 120], [185, 150], [180, 200], [135, 220], [95, 205]], [[110, 65], [185, 65]]],
];

function penDown(event) {
  if (!event.isPrimary || event.button) return;
  event.target.setPointerCapture(event.pointerId);
  if (state.picture) clear();
  else [state.future] = [[], remember(state.past)];
  state.writing = true;
  state.strokes.push([]);
  penMove(event);
}

function penMove(event) {
  if (!state.writing || !event.isPrimary) return;
  const { left, top, width } = event.target.getBoundingClientRect();
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const { clientX, clientY, pointerType, pressure } of steps.length ? steps : [event]) {
    state.strokes.at(-1).push({
      x: ((clientX - left) / width) * SIDE,
      y: ((clientY - top) / width) * SIDE,
      width: pointerType === "pen" ? PEN * (0.5 + pressure) : PEN,
    });
  }
  state.touched = event.timeStamp;
  redraw();
  lookAgain();
}

function penUp(event) {
  if (!state.writing || !event.isPrimary) return;
  state.writing = false;
  state.touched = event.timeStamp;
  lookAgain();
}

// --- the answer ---

const article = (digit) => (digit === 8 ? `an ${digit}` : `a ${digit}`);
const percent = (share) => (share > 0.999 ? "over 99.9 %" : `${(100 * share).toFixed(1)} %`);

function inWords({ digit, confidence, probabilities, verdict }) {
  const second = probabilities.indexOf([...probabilities].sort((a, b) => b - a)[1]);
  return {
    digit: `This is ${article(digit)}, ${percent(confidence)} sure.`,
    unsure: `Perhaps ${article(digit)}, perhaps ${article(second)}.`,
    not_a_digit: `This does not look like a digit. The nearest is ${article(digit)}.`,
  }[verdict];
}

function showAnswer(answer, { touched }) {
  state.several = !!answer.several;
  if (state.several) return readNumber();
  state.answered = state.sheet;
  delete document.body.dataset.number;
  if (!at("why").checked) clearCanvas(at("sheet-heat"));
  document.body.dataset.verdict = answer.verdict;
  at("digit").textContent = answer.digit;
  at("sentence").textContent = inWords(answer);
  at("time").textContent = `answered in ${(performance.now() - touched).toFixed(1)} ms`;
  showProbabilities(answer.probabilities);
  drawPixels(at("seen"), answer.input, asGrey);
  complain("");
  if (!state.writing) announce(inWords(answer));
}

/** Each digit in its box on the sheet; how sure the number is as a whole. */
function showNumber({ text, confidence, lines }, { touched, box }) {
  if (!state.several) return; // what was asked for is one digit by now
  const found = lines.flat();
  if (!found.length) return (at("sentence").textContent = "More than one digit, and none that is sure.");
  const verdict = found.every((one) => one.verdict === "digit") && confidence > 0.5 ? "digit" : "unsure";
  const sentence = verdict === "digit" ? `This is ${text}, ${percent(confidence)} sure.` : `Perhaps ${text}.`;
  state.answered = state.sheet;
  Object.assign(document.body.dataset, { verdict, number: text.length > 3 ? "long" : "short" });
  at("digit").textContent = text;
  at("sentence").textContent = sentence;
  at("time").textContent = `answered in ${(performance.now() - touched).toFixed(1)} ms`;
  showProbabilities(Array(10).fill(0));
  for (const id of ["seen", "seen-heat"]) clearCanvas(at(id));
  drawNumber(found, box);
  complain("");
  if (!state.writing) announce(sentence);
}

function drawNumber(found, [left, top, right, bottom]) {
  const canvas = at("sheet-heat");
  clearCanvas(canvas);
  const context = canvas.getContext("2d");
  const zoom = Math.min(2, LONGEST_NUMBER / (Math.max(right - left, bottom - top) + 2 * MARGIN));
  Object.assign(context, { lineWidth: 2, font: "13px system-ui, sans-serif" });
  for (const { box, digit, confidence, verdict } of found) {
    const [x, y, width, height] = box.map((length) => length / zoom);
    context.strokeStyle = context.fillStyle = verdict === "digit" ? "#12805f" : "#d9480f";
    context.setLineDash(verdict === "digit" ? [] : [6, 4]);
    context.strokeRect(left - MARGIN + x, top - MARGIN + y, width, height);
    context.fillText(`${digit} ${Math.round(100 * confidence)} %`, left - MARGIN + x, Math.max(12, top - MARGIN + y - 5));
  }
}

function showNothing() {
  delete document.body.dataset.number;
  delete document.body.dataset.verdict;
  at("digit").textContent = at("time").textContent = "";
  at("sentence").textContent = "Nothing to read yet.";
  showProbabilities(Array(10).fill(0));
  for (const id of ["seen", "maps"]) clearCanvas(at(id));
  announce("");
}

function showProbabilities(probabilities) {
  const best = Math.max(...probabilities);
  probabilities.forEach((share, digit) => {
    const bar = at("bars").children[digit].firstChild;
    bar.setAttribute("aria-valuenow", Math.round(100 * share));
    bar.setAttribute("aria-valuetext", `${(100 * share).toFixed(1)} %`);
    bar.style.setProperty("--share", share);
    bar.dataset.share = share >= 0.01 ? Math.round(100 * share) : "";
    bar.classList.toggle("best", share > 0 && share === best);
  });
}

// --- what the network saw ---

const clearCanvas = (canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);

function clearHeat() {
  for (const id of ["seen-heat", "sheet-heat"]) clearCanvas(at(id));
  at("nowhere").hidden = true;
}

/** Rows of numbers to pixels, each through `colour`: number -> [red, green, blue, alpha]. */
function drawPixels(canvas, rows, colour, left = 0, top = 0) {
  const pixels = new ImageData(new Uint8ClampedArray(rows.flat().flatMap(colour)), rows[0].length);
  canvas.getContext("2d").putImageData(pixels, left, top);
}

const asGrey = (level) => [level, level, level, 255];
const asHeat = (heat) => [240, 150 - 110 * heat, 30, 215 * heat];

/** Heat over the pixels that the network saw, and over the sheet where those came from. */
function showHeat({ heatmap, input }, { box }) {
  if (!at("why").checked) return;
  at("nowhere").hidden = heatmap.flat().some(Boolean);
  const small = at("seen-heat");
  drawPixels(small, heatmap, asHeat);
  const large = at("sheet-heat");
  clearCanvas(large);
  const seen = filledBox(input);
  const length = ([left, top, right, bottom]) => Math.max(right - left, bottom - top);
  const zoom = length(box) / length(seen);
  const [x, y] = [0, 1].map((axis) => (box[axis] + box[axis + 2] - zoom * (seen[axis] + seen[axis + 2])) / 2);
  large.getContext("2d").drawImage(small, x, y, 28 * zoom, 28 * zoom);
}

/** [left, top, right, bottom] of the bright pixels. */
function filledBox(rows) {
  const bright = rows.flatMap((row, y) => row.flatMap((grey, x) => (grey > 60 ? [[x, y]] : [])));
  const [xs, ys] = [0, 1].map((axis) => bright.map((place) => place[axis]));
  return bright.length ? [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1] : [4, 4, 24, 24];
}

function showFeatures({ layer, layers, maps }) {
  const columns = 8;
  const [height, width] = [maps[0].length, maps[0][0].length];
  const canvas = at("maps");
  canvas.width = columns * (width + 1) - 1;
  canvas.height = Math.ceil(maps.length / columns) * (height + 1) - 1;
  maps.forEach((rows, index) => {
    const [left, top] = [(index % columns) * (width + 1), Math.floor(index / columns) * (height + 1)];
    drawPixels(canvas, rows, (value) => asGrey(255 * value), left, top);
  });
  at("layer").max = layers - 1;
  at("layer-name").textContent = `${layer + 1} of ${layers}: ${maps.length} maps of ${height} × ${width}`;
  canvas.setAttribute("aria-label", `Feature maps of layer ${at("layer-name").textContent}`);
}

// --- the last answers ---

const MOST_DRAWINGS = 12;
const kept = new WeakSet(); // the newest strokes of drawings that have a card

/** A card for what is written on the sheet, if it is read and has none. */
function keepAnswer() {
  const { strokes } = state;
  if (!strokes.length || state.answered !== state.sheet || kept.has(strokes.at(-1))) return;
  kept.add(strokes.at(-1));
  const card = addCard("Your drawing");
  card.classList.add("drawing");
  for (const old of [...document.querySelectorAll(".drawing")].slice(MOST_DRAWINGS)) old.remove();
  card.querySelector(".text").textContent = at("digit").textContent;
  card.querySelector(".note").textContent = at("sentence").textContent;
  const canvas = card.querySelector("canvas");
  [canvas.width, canvas.height, canvas.hidden] = [SIDE, SIDE, false];
  drawStrokes(canvas.getContext("2d"), strokes, getComputedStyle(canvas).color);
  offer(card, [...strokes]);
}

/** The card's button puts it on the sheet. */
function offer(card, strokes, picture) {
  const button = card.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => {
    change(strokes, picture);
    scrollTo({ top: 0 });
  });
}

/** A card for each file; the digit of a single one goes onto the sheet too. */
async function openPictures(files) {
  const older = at("cards").firstChild;
  for (const file of files) {
    const card = addCard(file.name, older);
    try {
      if (file.type && !file.type.startsWith("image/")) throw new Error("this is no picture.");
      const { text, lines } = await ask("read", file);
      const picture = await fillCard(card, file, text, lines.flat());
      announce(`${file.name}: ${text || "no digit found"}`);
      if (picture && files.length === 1) change([], picture);
    } catch (error) {
      card.classList.add("failed");
      announce((card.querySelector(".note").textContent = `${file.name}: ${error.message}`));
    }
  }
}

/** The newest come first, what was opened together in its order. */
function addCard(name, older = at("cards").firstChild) {
  const card = at("card").content.firstElementChild.cloneNode(true);
  card.querySelector("canvas").setAttribute("aria-label", name);
  card.querySelector(".note").textContent = `${name}: reading`;
  at("cards").insertBefore(card, older?.isConnected ? older : null);
  at("pictures").hidden = false;
  return card;
}

/** What was found in a file; the picture of it if it is one digit, which the sheet can show. */
async function fillCard(card, file, text, found) {
  const doubts = found.filter((digit) => digit.verdict !== "digit").length;
  card.querySelector(".text").textContent = text || "no digit";
  card.querySelector(".note").textContent = file.name + (doubts ? `, ${doubts} of ${found.length} unsure` : "");
  const bitmap = await createImageBitmap(file).catch(() => null); // some formats only the server can read
  if (bitmap) drawBoxes(card.querySelector("canvas"), bitmap, found);
  if (!bitmap || found.length !== 1) return null;
  const picture = { file, bitmap, box: found[0].box };
  offer(card, [], picture);
  return picture;
}

function drawBoxes(canvas, bitmap, found) {
  const zoom = Math.min(1200 / bitmap.width, 800 / bitmap.height);
  [canvas.width, canvas.height] = [zoom * bitmap.width, zoom * bitmap.height];
  canvas.hidden = false;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  context.lineWidth = 4;
  for (const { box, verdict } of found) {
    context.strokeStyle = verdict === "digit" ? "#12805f" : "#d9480f";
    context.setLineDash(verdict === "digit" ? [] : [14, 10]);
    context.strokeRect(...box.map((length) => zoom * length));
  }
}

// --- corrections ---

async function correct(label) {
  const form = new FormData();
  form.append("file", contentFile(), state.picture?.file.name ?? "drawing.png");
  form.append("label", label);
  try {
    await ask("feedback", form);
    at("correction").open = false;
    announce((at("sentence").textContent = `Saved as ${article(label)}. Thank you.`));
  } catch (error) {
    complain(error.message);
  }
}

// --- wiring ---

function addDigit(digit) {
  const item = at("bar").content.firstElementChild.cloneNode(true);
  item.firstChild.setAttribute("aria-label", `digit ${digit}`);
  item.lastChild.textContent = digit;
  at("bars").append(item);
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: digit });
  button.addEventListener("click", () => correct(digit));
  at("labels").append(button);
}

function onKey(event) {
  if (event.target.id === "key") return;
  const held = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const action =
    held && key === "z" ? (event.shiftKey ? redo : undo)
    : held && key === "y" ? redo
    : ["escape", "delete"].includes(key) && !isBlank() ? clear
    : null;
  if (!action) return;
  event.preventDefault();
  action();
}

/** The key that the server asked for is kept while this tab is open. */
function useKey(event) {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value);
  Object.assign(at("key"), { value: "" });
  at("key-form").hidden = true;
  complain("");
  if (!isBlank()) lookAgain();
}

function onDrag(event) {
  event.preventDefault();
  document.body.classList.toggle("dropping", event.type === "dragover");
  if (event.type === "drop") openPictures([...event.dataTransfer.files]);
}

function listen() {
  const { canvas } = sheet;
  canvas.addEventListener("pointerdown", penDown);
  canvas.addEventListener("pointermove", penMove);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, penUp);
  for (const drag of ["dragover", "dragleave", "drop"]) document.addEventListener(drag, onDrag);
  document.addEventListener("keydown", onKey);
  document.addEventListener("paste", (event) => openPictures([...event.clipboardData.files]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  at("undo").addEventListener("click", undo);
  at("redo").addEventListener("click", redo);
  at("clear").addEventListener("click", clear);
  at("try").addEventListener("click", trySample);
  at("key-form").addEventListener("submit", useKey);
  at("files").addEventListener("change", ({ target }) => {
    openPictures([...target.files]);
    target.value = ""; // so that the same file can be opened again
  });
  at("why").addEventListener("change", ({ target }) => {
    clearHeat();
    if (target.checked) explain();
  });
  at("layer").addEventListener("input", features);
  at("features").addEventListener("toggle", ({ target }) => target.open && features());
}

async function introduceModel() {
  const { checksum, parameters, feedback } = await ask("model");
  at("model").textContent = `Model ${checksum}, ${parameters.toLocaleString("en")} parameters`;
  at("correction").hidden = !feedback;
}

sheet.scale(SHARP, SHARP);
for (let digit = 0; digit < 10; digit++) addDigit(digit);
listen();
replaceSheet([]);
introduceModel().catch((error) => complain(error.message));
