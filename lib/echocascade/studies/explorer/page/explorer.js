// One picture, some ejection fractions, one noise: the clips that belong to them.
const BASE = location.pathname.replace(/\/$/, "");
const FORMATS = ["mp4", "gif", "webp", "avi", "npz"];
const WAIT_MS = 250;  // a slider that rests so long is meant
const $ = (id) => document.getElementById(id);
const state = { run: null, picture: null, asks: [], chosen: 0, seed: 0, seconds: null, job: null, source: null, turn: 0 };
let timer = 0, cards = [];

async function call(path, options) {
  const answer = await fetch(`${BASE}${path}`, options);
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(body.error || `the server answered ${answer.status}`);
  return body;
}
const post = (path, content) => call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });
function say(text) { $("notice").textContent = text || ""; }
function guarded(work) {
  return async (...given) => { try { await work(...given); } catch (error) { say(error.message === "Failed to fetch" ? "the server does not answer; is it still running?" : error.message); } };
}
function made(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- the picture
async function setPicture(loading, what) {
  say("");
  document.body.setAttribute("aria-busy", "true");
  try {
    const found = await loading;
    state.picture = found.picture;
    $("image").src = found.image;
    $("image").hidden = false;
    $("drop").classList.add("filled");
    showFacts(found.said, what);
    if (!state.asks.length) state.asks = [{ lvef_percent: Number($("lvef").value) }];
    for (const id of ["lvef", "add", "noise"]) $(id).disabled = false;
    $("empty").hidden = true;
    cards = []; $("cards").replaceChildren();
    await make();
  } finally { document.body.removeAttribute("aria-busy"); }
}
function showFacts(said, what) {
  const frames = said.frames || 1;
  $("frames").hidden = frames < 2;
  $("frame").max = frames - 1;
  $("frame").value = said.at || 0;
  $("at").textContent = `${(said.at || 0) + 1} of ${frames}`;
  $("facts").textContent = said.sector
    ? `${said.kind}, ${said.pixels[0]} x ${said.pixels[1]} pixels; sector of ${said.sector.opening_degrees.toFixed(0)}° found, the rest is left out`
    : `${what}, own LVEF ${said.lvef_percent.toFixed(0)} %`;
}
const upload = guarded((file) => {
  $("patient").value = "";
  return setPicture(call("/image", { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file }), "");
});

// --- the clips
const make = guarded(async () => {
  if (!state.picture) return;
  const turn = ++state.turn;
  if (state.source) { state.source.close(); state.source = null; }
  if (state.job) post(`/job/${state.job}/stop`, {}).catch(() => {});
  state.job = null;
  render();
  const asks = state.asks.map((ask) => ({ ...ask, seed: state.seed }));
  const begun = await post("/make", { picture: state.picture, asks, seconds: state.seconds });
  if (turn !== state.turn) return;
  state.job = begun.job;
  if (begun.making) { $("progress").hidden = false; $("progress").firstElementChild.style.width = "2%"; }
  follow(begun.job, turn);
});
function follow(job, turn) {
  const source = new EventSource(`${BASE}/job/${job}`);
  state.source = source;
  const ended = () => { source.close(); if (turn === state.turn) { $("progress").hidden = true; state.job = null; } };
  source.addEventListener("preview", (event) => { if (turn === state.turn) preview(JSON.parse(event.data)); });
  source.addEventListener("clips", (event) => { ended(); if (turn === state.turn) showClips(JSON.parse(event.data).clips); });
  source.addEventListener("failed", (event) => { ended(); const { error } = JSON.parse(event.data); if (turn === state.turn && error !== "stopped") say(error); });
  source.onerror = () => { ended(); if (turn === state.turn) say("the connection to the server was lost"); };
}
function render() {
  while (cards.length > state.asks.length) cards.pop().element.remove();
  state.asks.forEach((ask, i) => {
    if (!cards[i]) { cards[i] = newCard(i); $("cards").append(cards[i].element); }
    const card = cards[i];
    card.element.classList.toggle("chosen", i === state.chosen && state.asks.length > 1);
    card.title.textContent = `${ask.lvef_percent} %`;
    card.noise.textContent = `noise ${state.seed}`;
    card.remove.hidden = state.asks.length < 2;
  });
  $("lvef").value = state.asks[state.chosen].lvef_percent;
  $("value").textContent = `${state.asks[state.chosen].lvef_percent} %`;
  $("add").disabled = !state.picture || state.asks.length >= state.run.most;
}
function newCard(index) {
  const element = made("article", "card"), stage = made("div", "stage"), text = made("div", "text");
  const video = made("video"), canvas = made("canvas"), doing = made("span", "doing"), remove = made("button", "remove", "×");
  Object.assign(video, { loop: true, muted: true, autoplay: true, playsInline: true });
  remove.type = "button"; remove.title = "Remove"; remove.setAttribute("aria-label", "Remove this clip");
  canvas.hidden = doing.hidden = true;
  // until the clip is there the last preview stays
  video.addEventListener("loadeddata", () => shown(card));
  stage.append(video, canvas, doing, remove);
  const heading = made("h2"), title = made("span"), noise = made("small"), read = made("p", "read");
  heading.append(title, noise);
  const svg = document.createElementNS(SVG, "svg"), files = made("p", "files");
  text.append(heading, read, svg, files);
  element.append(stage, text);
  const card = { element, video, canvas, doing, title, noise, read, svg, files, remove, follow: null, drawing: 0, clip: "" };
  element.addEventListener("click", () => { state.chosen = cards.indexOf(card); render(); });
  remove.addEventListener("click", (event) => {
    event.stopPropagation();
    const place = cards.indexOf(card);
    state.asks.splice(place, 1); cards.splice(place, 1); element.remove();
    state.chosen = Math.min(state.chosen, state.asks.length - 1);
    make();
  });
  return card;
}
function shown(card) { card.sheet = null; card.canvas.hidden = true; }
function preview(shown) {
  $("progress").firstElementChild.style.width = `${Math.round(100 * shown.share)}%`;
  const sheet = new Image();
  sheet.onload = () => shown.rows.forEach((place, row) => {
    const card = cards[place];
    if (!card || !state.job) return;
    card.sheet = { image: sheet, row, frames: shown.frames, rows: shown.rows.length };
    card.canvas.hidden = card.doing.hidden = false;
    card.doing.textContent = `${shown.stage}, ${Math.round(100 * shown.share)} %`;
  });
  sheet.src = shown.sheet;
}
function drawSheet(card, time) {
  const { image, row, frames, rows } = card.sheet;
  const width = image.width / frames, height = image.height / rows;
  card.canvas.width = width; card.canvas.height = height;
  const frame = Math.floor(time / 1000 * frames / 2) % frames;
  card.canvas.getContext("2d").drawImage(image, frame * width, row * height, width, height, 0, 0, width, height);
}
function showClips(clips) {
  if (clips.length < state.asks.length) { say("some clips are not kept any more; move the slider to make them again"); return; }
  const range = rangeOf(clips.map((clip) => clip.area));
  clips.forEach((clip, i) => {
    const card = cards[i];
    if (!card) return;
    card.doing.hidden = true;
    if (card.clip !== clip.clip) { card.video.src = `${BASE}/clip/${encodeURIComponent(clip.clip)}/clip.mp4`; card.clip = clip.clip; }
    else shown(card);
    card.read.replaceChildren();
    const judges = [["regressor", clip.regressor], ["segmentation", clip.stick]];
    judges.forEach(([judge, value], k) => card.read.append(k ? " · " : "", `${judge} `, made("b", "", value === null ? "–" : `${Math.round(value)} %`)));
    card.follow = drawCurve(card.svg, clip.area, clip.fps, range);
    card.files.replaceChildren(made("span", "", "Save"));
    for (const format of FORMATS) {
      const link = made("a", "", format === "npz" ? "NumPy" : format.toUpperCase());
      link.href = `${BASE}/clip/${encodeURIComponent(clip.clip)}/clip.${format}`;
      link.download = `synthetic-lvef${clip.lvef_percent}-noise${clip.seed}.${format}`;
      link.addEventListener("click", (event) => event.stopPropagation());
      card.files.append(link);
    }
  });
  for (const card of cards) { card.video.currentTime = 0; card.video.play().catch(() => {}); }
}
function tick(time) {
  for (const card of cards) {
    if (card.sheet) drawSheet(card, time);
    if (card.follow) card.follow(card.video.currentTime);
  }
  requestAnimationFrame(tick);
}

// --- the controls
function later() { clearTimeout(timer); timer = setTimeout(make, WAIT_MS); }
$("lvef").addEventListener("input", () => {
  const asked = Number($("lvef").value);
  $("value").textContent = `${asked} %`;
  if (!state.asks.length) return;
  state.asks[state.chosen] = { lvef_percent: asked };
  cards[state.chosen].title.textContent = `${asked} %`;
  later();
});
$("add").addEventListener("click", () => {
  const taken = state.asks.map((ask) => ask.lvef_percent), wishes = [30, 60, 45, 75, 20, 55];
  const free = wishes.find((lvef) => taken.every((t) => Math.abs(t - lvef) >= 8)) ?? 50;
  state.asks.push({ lvef_percent: free });
  state.chosen = state.asks.length - 1;
  make();
});
$("noise").addEventListener("click", () => { state.seed += 1; make(); });
$("length").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  state.seconds = button.dataset.seconds ? Number(button.dataset.seconds) : null;
  for (const other of $("length").children) other.setAttribute("aria-pressed", String(other === button));
  make();
});
$("file").addEventListener("change", () => { if ($("file").files[0]) upload($("file").files[0]); $("file").value = ""; });
$("frame").addEventListener("input", () => { $("at").textContent = `${Number($("frame").value) + 1} of ${Number($("frame").max) + 1}`; });
$("frame").addEventListener("change", guarded(() => setPicture(post("/frame", { picture: state.picture, frame: Number($("frame").value) }), "")));
$("patient").addEventListener("change", guarded(async () => {
  const row = $("patient").value;
  if (row !== "") await setPicture(post("/patient", { row: Number(row) }), `Patient ${Number(row) + 1}`);
}));
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
addEventListener("drop", (event) => { const file = event.dataTransfer && event.dataTransfer.files[0]; if (file) upload(file); });

guarded(async () => {
  const run = state.run = await call("/run");
  $("run").textContent = `explorer · run ${run.run} · ${run.pixels} pixels, ${run.fps} frames a second, guidance ${run.guidance}${run.phantom ? " · trained on phantoms" : ""}`;
  const [low, high] = run.lvef_percent, [from, to] = run.evaluated;
  $("lvef").min = low; $("lvef").max = high;
  $("value").textContent = `${$("lvef").value} %`;
  const band = made("i");
  band.style.left = `${100 * (from - low) / (high - low)}%`; band.style.right = `${100 * (high - to) / (high - low)}%`;
  $("scale").append(band); $("scale").title = `evaluated between ${from} and ${to} %`;
  $("length").firstElementChild.textContent = `${run.seconds} s`;
  if (run.patients.length) {
    $("patient").append(new Option("choose", ""));
    for (const patient of run.patients) $("patient").append(new Option(`Patient ${patient.row + 1}, LVEF ${patient.lvef_percent.toFixed(0)} %`, patient.row));
    $("pick").hidden = false;
  }
  requestAnimationFrame(tick);
})();
