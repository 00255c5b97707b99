// Joins the page together: asks, shows, and asks again while somebody looks.

import { NoAnswerError, RefusedError, get, getPublic, token, waitingFor } from "./api.js";
import { summed } from "./counts.js";
import { Freshness } from "./freshness.js";
import { VillageMap } from "./map.js";
import { byId, element, offer, write, writeOrHide } from "./page.js";
import { VillageTable } from "./table.js";
import { VillagePage } from "./village.js";
import { date, daysUntil, instant, localTime, number, regionName, share, time } from "./words.js";

const EVERY_MS = 3000;
const SLIDER_SETTLES_MS = 250;
const WIDE_PX = 900; // from here on a village stands beside the map
const VILLAGE_IN_ADDRESS = /^#desa=([0-9.]+)$/;

const REFUSALS = {
  401: "Token ini tidak dikenal atau sudah dicabut. Periksa apakah tersalin utuh, atau minta token baru kepada operator.",
  403: "Token stasiun tidak boleh membaca hitungan. Masukkan token KPU atau token operator.",
};

/** What is chosen, and what stands on the screen. */
const view = {
  elections: [],
  electionId: null,
  moment: null, // null for now, else {asked: what as_of says, words, definition}
  districtNames: null,
  villages: [],
  chosen: null, // a village's code
  shown: null, // what the villages on the screen are of: {key, position}
  session: 0, // rises when what is chosen changes: answers to older questions are dropped
};

const freshness = new Freshness();
const villageMap = new VillageMap((code) => choose(code, window.innerWidth > WIDE_PX));
const table = new VillageTable((code) => choose(code, false));
const villagePage = new VillagePage(inWords, () => choose(null, true));
let shapes = null;
let timer = null;

// ---- asking ----

async function poll() {
  clearTimeout(timer);
  if (document.hidden || !token.get()) return;
  const { session } = view;
  try {
    await update(session);
  } catch (error) {
    if (session === view.session) failed(error);
  }
  if (session === view.session) timer = setTimeout(poll, EVERY_MS);
}

async function update(session) {
  await drawMap();
  const [{ elections }, progress, waiting] = await Promise.all([
    get("/v1/elections"),
    get("/v1/progress"),
    waitingFor(),
  ]);
  if (session !== view.session) return;
  showElections(elections);
  const election = elections.find(({ id }) => id === view.electionId);
  if (!election) return;
  freshness.answered(progress, waiting, election);
  showBoard(election, progress);
  await bring(session, election, progress);
  freshness.tell();
}

/** Brings the villages' counts, unless those on the screen are the same. */
async function bring(session, election, progress) {
  // Counts follow from the log up to a position and from the definition alone.
  const keyAt = (moment) => `${moment} ${JSON.stringify(election)}`;
  if (view.shown && view.shown.key === keyAt(view.moment ? view.moment.asked : progress.position)) {
    return;
  }
  const path = `/v1/elections/${encodeURIComponent(election.id)}`;
  const at = view.moment ? await get("/v1/progress", { as_of: view.moment.asked }) : progress;
  const asOf = view.moment ? { as_of: at.position } : {};
  const [answer, names] = await Promise.all([
    get(`${path}/villages`, asOf),
    view.districtNames || districtNames(path),
  ]);
  if (session !== view.session) return;
  view.districtNames = names;
  view.shown = { key: keyAt(view.moment ? view.moment.asked : answer.position), position: answer.position };
  // Counting may have gone on since progress was asked: the time is the answer's own.
  const exact =
    answer.position === at.position ? at : await get("/v1/progress", { as_of: answer.position });
  if (session !== view.session) return;
  showVillages(answer.villages, exact, election);
}

async function districtNames(path) {
  const { districts } = await get(`${path}/districts`);
  return new Map(districts.map(({ district, name }) => [district, name]));
}

function failed(error) {
  if (error instanceof RefusedError && REFUSALS[error.status]) {
    askForToken(REFUSALS[error.status]);
  } else if (error instanceof RefusedError && error.fields.includes("as_of")) {
    writeOrHide(byId("moment-problem"), inWords(error));
    if (error.status !== 503) leaveMoment();
  } else if (!(error instanceof RefusedError && error.kind === "not-yet")) {
    if (!(error instanceof NoAnswerError) && !(error instanceof RefusedError)) console.error(error);
    byId("board").hidden = false;
    freshness.failed();
  }
}

/** What a failure means to whoever reads, and what to do. */
function inWords(error) {
  if (error instanceof NoAnswerError) return "Layanan tidak menjawab; coba lagi sebentar lagi.";
  if (error instanceof RefusedError && error.status === 503) {
    return "Riwayat sejauh itu masih disusun atau dihitung; coba lagi beberapa menit lagi.";
  }
  if (error instanceof RefusedError && error.status === 400) {
    return "Waktu itu di luar catatan. Pilih waktu yang sudah lewat, dan awal yang tidak sesudah akhir.";
  }
  if (error instanceof RefusedError) return REFUSALS[error.status] || error.message;
  console.error(error);
  return "Ada kesalahan di halaman ini; muat ulang, dan beri tahu operator bila berulang.";
}

/** What is chosen changed: ask anew at once. */
function askAnew() {
  view.session += 1;
  poll();
}

// ---- showing ----

function showElections(elections) {
  view.elections = elections;
  const select = byId("election");
  offer(select, elections.map(({ id, polling_day: day }) => [id, `${id} (${date(day)})`]));
  if (!elections.some(({ id }) => id === view.electionId)) {
    view.electionId = select.value || null;
  }
  select.value = view.electionId;
}

function showBoard(election, progress) {
  byId("board").hidden = false;
  byId("top-controls").hidden = false;
  const area = shapes && shapes.area === election.area ? regionName(shapes.name) : `wilayah ${election.area}`;
  write(byId("title"), `Hitungan pemilih ${area}`);
  document.title = `Hitungan pemilih ${area}`;
  write(
    byId("subtitle"),
    `Hari pemungutan suara ${date(election.polling_day)}, ${daysUntil(election.polling_day, progress.now)}`,
  );
  const slider = byId("moment-slider");
  const isAtEnd = !view.moment && document.activeElement !== slider;
  slider.max = progress.log_position;
  if (isAtEnd) slider.value = progress.log_position;
  byId("moment-time").max = localTime(progress.now);
}

function showVillages(villages, progress, election) {
  view.villages = villages.map((village) => ({
    ...village,
    districtName: view.districtNames.get(village.district) || village.district,
  }));
  showTotals(summed(view.villages));
  villageMap.show(view.villages);
  table.show(view.villages, progress.position, election.id);
  if (view.moment) showMoment(progress);
  freshness.showing(progress, view.moment && view.moment.words);
  showChosen();
}

function showTotals(total) {
  const cards = [
    ["Pemilih", number(total.eligible), `${number(total.residents)} penduduk`],
    ["Laki-laki", number(total.eligible_male), "pemilih"],
    ["Perempuan", number(total.eligible_female), "pemilih"],
    ["Sudah perekaman", number(total.eligible_recorded), `cakupan ${share(total.coverage)}`],
    ["Belum perekaman", number(total.eligible_unrecorded), "pemilih"],
    ["Pemilih pemula", number(total.first_time), "17 tahun sejak pemilu lalu"],
    ["Pemula belum perekaman", number(total.first_time_unrecorded), "harus segera direkam"],
    ["Desa belum tersentuh", number(untouchedCount()), `dari ${number(view.villages.length)} desa`],
    ["TPS minimum", number(total.tps_min), "paling banyak 600 pemilih per TPS"],
  ];
  const list = byId("totals");
  if (!list.children.length) list.append(...cards.map(([name]) => card(name)));
  cards.forEach(([, value, under], index) => {
    const [, shown, below] = list.children[index].children;
    write(shown, value);
    write(below, under);
  });
  const bar = list.querySelector(".level");
  bar.style.width = `${100 * (total.coverage || 0)}%`;
}

function card(name) {
  const made = element("div", "card", element("dt", "", name), element("dd"), element("dd", "muted"));
  if (name === "Sudah perekaman") made.append(element("dd", "bar", element("span", "level")));
  return made;
}

const untouchedCount = () => view.villages.filter((village) => village.untouched).length;

// ---- choosing ----

/** A village's code, or null for none, becomes part of the address: it can be kept and gone back to. */
function choose(code, staysInView) {
  const { pathname } = window.location;
  window.history.pushState(null, "", code ? `#desa=${code}` : pathname);
  readAddress();
  if (code) byId("village").focus({ preventScroll: staysInView });
}

function readAddress() {
  const { hash } = window.location;
  const named = VILLAGE_IN_ADDRESS.exec(hash);
  // Another fragment is a place on the page and chooses nothing.
  if (named || !hash) view.chosen = named ? named[1] : null;
  showChosen();
}

function showChosen() {
  const village = view.villages.find((each) => each.village === view.chosen);
  villageMap.mark(village ? view.chosen : null);
  table.mark(village ? view.chosen : null);
  if (village) villagePage.show(village, view.shown.position, view.electionId);
  else villagePage.close();
}

/** Takes every number off the screen: they were of another election, or for somebody else. */
function clear() {
  view.shown = view.districtNames = null;
  view.villages = [];
  byId("totals").replaceChildren();
  villageMap.show([]);
  table.reset();
  villagePage.close();
  freshness.forget();
}

function showMoment(progress) {
  const recorded = progress.recorded_at ? time(progress.recorded_at) : "awal catatan";
  view.moment.words = view.moment.words || `${recorded} (sesudah posisi ${number(progress.position)})`;
  byId("moment-slider").value = progress.position;
  writeOrHide(byId("moment-problem"), "");
}

function enterMoment(asked, words) {
  view.moment = { asked, words };
  view.shown = null;
  byId("moment-now").hidden = false;
  byId("moment").classList.add("past");
  askAnew();
}

function leaveMoment() {
  view.moment = null;
  view.shown = null;
  byId("moment-now").hidden = true;
  byId("moment").classList.remove("past");
  write(byId("moment-position"), "");
  askAnew();
}

function askForToken(problem) {
  token.forget();
  view.session += 1;
  clear();
  byId("board").hidden = true;
  byId("top-controls").hidden = true;
  byId("token-section").hidden = false;
  writeOrHide(byId("token-problem"), problem);
  byId("token").focus();
}

function takeToken(event) {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (!token.isSendable(given)) {
    writeOrHide(byId("token-problem"), "Token berisi spasi atau huruf yang tidak mungkin; salin sekali lagi.");
    return;
  }
  token.set(given);
  byId("token").value = "";
  byId("token-section").hidden = true;
  askAnew();
}

function listen() {
  byId("token-form").addEventListener("submit", takeToken);
  byId("forget-token").addEventListener("click", () => askForToken(""));
  byId("election").addEventListener("change", (event) => {
    view.electionId = event.target.value;
    clear();
    askAnew();
  });
  byId("moment-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const { value } = byId("moment-time");
    write(byId("moment-position"), "");
    enterMoment(instant(value), time(instant(value)));
  });
  byId("moment-now").addEventListener("click", () => {
    writeOrHide(byId("moment-problem"), "");
    leaveMoment();
  });
  listenToSlider();
  window.addEventListener("popstate", readAddress);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    freshness.checking();
    askAnew();
  });
}

function listenToSlider() {
  const slider = byId("moment-slider");
  let settling = null;
  slider.addEventListener("input", () => {
    write(byId("moment-position"), number(slider.value));
    clearTimeout(settling);
    settling = setTimeout(() => enterMoment(slider.value, null), SLIDER_SETTLES_MS);
  });
}

/** The outlines are public: they need no token, and are asked for once. */
async function drawMap() {
  if (shapes) return;
  shapes = await getPublic("/web/shapes.json");
  write(byId("attribution"), shapes.attribution);
  villageMap.draw(shapes);
}

listen();
readAddress();
if (token.get()) poll();
else askForToken("");
