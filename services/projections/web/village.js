// A village's page: its counts, and the events between two moments that made them what they are.

import { get } from "./api.js";
import { button, byId, element, write } from "./page.js";
import { COUNTS, EFFECTS, change, instant, number, share, time } from "./words.js";

const PAGE_OF_EVENTS = 5000;
const EVENTS_SHOWN = 50;
const HINT = "Pilih desa di peta atau di tabel untuk melihat hitungan dan riwayatnya.";

export class VillagePage {
  /** `inWords(error)` says why a history could not be read; `leave()` is the way back. */
  constructor(inWords, leave) {
    this.inWords = inWords;
    this.leave = leave;
    this.village = null;
    this.counts = element("dl", "counts");
    this.cells = new Map();
    for (const [name, text] of [
      ...Object.entries(COUNTS),
      ["coverage", "Cakupan perekaman"],
      ["tps_min", "TPS minimum"],
    ]) {
      const cell = element("dd");
      this.cells.set(name, cell);
      this.counts.append(element("div", "", element("dt", "", text), cell));
    }
    this.makeHistory();
    this.close();
  }

  makeHistory() {
    this.since = element("input");
    this.since.type = "datetime-local";
    this.since.step = "1";
    const ask = element("button", "", "Lihat riwayat");
    ask.type = "submit";
    const form = element(
      "form",
      "row controls",
      element("label", "", "Riwayat sejak (WIB, kosong = dari awal) ", this.since),
      ask,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.read();
    });
    this.found = element("div", "history");
    this.found.setAttribute("aria-live", "polite");
    this.history = element("div", "history-part", element("h3", "", "Apa yang mengubahnya"), form, this.found);
  }

  /** Shows a village (its row), as counted at a position; another village loses the history. */
  show(village, position, electionId) {
    const isOther = !this.village || this.village.village !== village.village;
    if (isOther) {
      this.found.replaceChildren();
      this.line = element("p", "muted");
      this.flag = element("p", "flag", "Belum tersentuh: ada pemilih, belum satu pun perekaman.");
      const close = button("Tutup", this.leave);
      byId("village-body").replaceChildren(this.line, this.flag, this.counts, this.history, close);
    }
    Object.assign(this, { village, position, electionId });
    write(byId("village-title"), village.name);
    write(this.line, `Kecamatan ${village.districtName} · kode ${village.village}`);
    this.flag.hidden = !village.untouched;
    for (const [name, cell] of this.cells) {
      write(cell, name === "coverage" ? share(village[name]) : number(village[name]));
    }
  }

  close() {
    this.village = null;
    write(byId("village-title"), "Pilih desa");
    byId("village-body").replaceChildren(element("p", "muted", HINT));
  }

  async read() {
    const asked = this.village;
    const isStill = () => this.village && this.village.village === asked.village;
    this.found.replaceChildren(element("p", "muted", "Membaca riwayat …"));
    try {
      const history = await this.whole(asked.village);
      if (isStill()) this.tell(history);
    } catch (error) {
      if (isStill()) this.found.replaceChildren(element("p", "notice bad", this.inWords(error)));
    }
  }

  /** The history up to the position that is shown, page by page. */
  async whole(code) {
    const path = `/v1/elections/${encodeURIComponent(this.electionId)}/villages/${code}/history`;
    const to = this.position;
    let from = this.since.value ? instant(this.since.value) : undefined;
    let all = null;
    do {
      const page = await get(path, { from, to, limit: PAGE_OF_EVENTS });
      all = all ? { ...all, after: page.after, events: all.events.concat(page.events) } : page;
      from = page.next;
    } while (from !== null);
    return all;
  }

  tell(history) {
    const { events, definition } = history;
    const range = `Posisi ${number(history.from)} sampai ${number(history.to)}: ${number(events.length)} peristiwa.`;
    this.found.replaceChildren(
      element("p", "", range),
      ...(definition.time && definition.position > history.from ? [recounted(definition)] : []),
      ...(events.length ? [differences(history), effects(events)] : []),
    );
    if (events.length) this.listEvents([...events].reverse());
  }

  /** The events, the latest first, some at a time. */
  listEvents(events) {
    const body = element("tbody");
    const table = element(
      "table",
      "events",
      element("caption", "", "Peristiwa, terbaru di atas"),
      heading("Dicatat", "Apa", "Pengaruh", "Posisi"),
      body,
    );
    const more = button("Tampilkan lebih banyak", () => {
      body.append(...events.splice(0, EVENTS_SHOWN).map(eventLine));
      more.hidden = events.length === 0;
    });
    more.click();
    this.found.append(element("div", "table-box", table), more);
  }
}

function recounted(definition) {
  return element(
    "p",
    "notice",
    `Definisi pemilihan diganti pada ${time(definition.time)}; seluruh riwayat ini dihitung menurut definisi yang sekarang.`,
  );
}

/** Before, after and the difference of each count that changed. */
function differences({ before, after }) {
  const changed = Object.keys(COUNTS).filter((name) => before[name] !== after[name]);
  if (!changed.length) return element("p", "", "Tidak ada hitungan yang berubah.");
  const lines = changed.map((name) =>
    line(COUNTS[name], number(before[name]), number(after[name]), change(after[name] - before[name])),
  );
  return element(
    "table",
    "",
    heading("Hitungan", "Sebelum", "Sesudah", "Selisih"),
    element("tbody", "", ...lines),
  );
}

/** How many events had each effect. */
function effects(events) {
  const counted = new Map();
  for (const { effect } of events) counted.set(effect, (counted.get(effect) || 0) + 1);
  const parts = [...counted]
    .sort((one, other) => other[1] - one[1])
    .map(([effect, count]) => `${EFFECTS[effect] || effect} ${number(count)}`);
  return element("p", "", `Menurut jenisnya: ${parts.join(", ")}.`);
}

function eventLine(event) {
  const added = Object.entries(event.added).map(([name, count]) => `${COUNTS[name]} ${change(count)}`);
  return line(time(event.recorded_at), EFFECTS[event.effect] || event.effect, added.join(", "), number(event.position));
}

function heading(...texts) {
  const cells = texts.map((text) => Object.assign(element("th", "", text), { scope: "col" }));
  return element("thead", "", element("tr", "", ...cells));
}

const line = (...texts) => element("tr", "", ...texts.map((text) => element("td", "", text)));
