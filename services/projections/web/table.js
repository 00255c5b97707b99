// The table of villages: sorted, filtered, by village or by district, printed and downloaded.

import { byDistrict, csv, filtered, sorted, summed } from "./counts.js";
import { arrange, button, byId, element, offer, write, writeOrHide } from "./page.js";
import { number, share } from "./words.js";

const COLUMNS = [
  ["name", "Desa/kelurahan"],
  ["eligible", "Pemilih"],
  ["eligible_male", "Laki-laki"],
  ["eligible_female", "Perempuan"],
  ["eligible_recorded", "Sudah rekam"],
  ["eligible_unrecorded", "Belum rekam"],
  ["coverage", "Cakupan"],
  ["first_time", "Pemula"],
  ["first_time_unrecorded", "Pemula belum rekam"],
  ["tps_min", "TPS min."],
];
const NUMBERS = COLUMNS.slice(1).map(([column]) => column);
const MOST_ROWS = 1000; // an old computer still draws these at once

export class VillageTable {
  /** `choose(code)` is called when a village's name is pressed. */
  constructor(choose) {
    this.choose = choose;
    this.villages = [];
    this.chosen = null;
    this.order = { column: "name", descending: false };
    this.rows = new Map();
    this.open = new Set();
    this.controls = {
      search: byId("search"),
      district: byId("district"),
      grouping: byId("grouping"),
      onlyUntouched: byId("only-untouched"),
    };
    for (const control of Object.values(this.controls)) {
      control.addEventListener("input", () => this.refresh());
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("download").addEventListener("click", () => this.download());
    byId("print").addEventListener("click", () => window.print());
    this.makeHeadings();
    this.sum = rowOf(element("th"), byId("sum"));
  }

  makeHeadings() {
    this.headings = COLUMNS.map(([column, text]) => {
      const cell = element("th", column === "name" ? "" : "number", button(text, () => this.sortBy(column)));
      cell.scope = "col";
      cell.dataset.column = column;
      return cell;
    });
    byId("headings").replaceChildren(...this.headings);
  }

  sortBy(column) {
    const isSame = this.order.column === column;
    // Numbers begin with the greatest, names with A.
    this.order = { column, descending: isSame ? !this.order.descending : column !== "name" };
    this.refresh();
  }

  /** Empties the table; nothing is kept but the order. */
  reset() {
    this.villages = [];
    this.rows.clear();
    this.open.clear();
    this.controls.search.value = "";
    this.controls.district.value = "";
    this.refresh();
  }

  show(villages, position, electionId) {
    Object.assign(this, { villages, position, electionId });
    const districts = [...byDistrict(villages)].map(([code, [first]]) => [
      code,
      `${first.districtName} (${code})`,
    ]);
    offer(this.controls.district, [["", "semua"], ...districts]);
    this.refresh();
  }

  mark(code) {
    for (const one of [this.chosen, code]) {
      const row = this.rows.get(one);
      if (row) row.line.classList.toggle("chosen", one === code);
    }
    this.chosen = code;
  }

  shown() {
    return filtered(this.villages, {
      search: this.controls.search.value,
      district: this.controls.district.value,
      onlyUntouched: this.controls.onlyUntouched.checked,
    });
  }

  refresh() {
    const shown = this.shown();
    const rows = this.controls.grouping.value === "districts" ? this.grouped(shown) : this.flat(shown);
    arrange(byId("rows"), rows.slice(0, MOST_ROWS));
    fill(this.sum, summed(shown));
    write(this.sum.name, "Jumlah yang tampil");
    write(byId("table-count"), `${number(shown.length)} dari ${number(this.villages.length)} desa`);
    const cut = rows.length > MOST_ROWS ? `Baru ${number(MOST_ROWS)} baris yang tampil; persempit dengan pencarian. Unduhan CSV dan jumlah memuat semuanya.` : "";
    writeOrHide(byId("table-note"), shown.length ? cut : "Tidak ada desa yang cocok; ubah pencarian atau saringan.");
    for (const heading of this.headings) {
      const isOrder = heading.dataset.column === this.order.column;
      const direction = this.order.descending ? "descending" : "ascending";
      heading.setAttribute("aria-sort", isOrder ? direction : "none");
    }
  }

  flat(shown) {
    return sorted(shown, this.order).slice(0, MOST_ROWS + 1).map((village) => this.villageRow(village));
  }

  grouped(shown) {
    const isNarrowed = this.controls.search.value.trim() !== "" || this.controls.onlyUntouched.checked;
    const groups = [...byDistrict(shown)].map(([code, villages]) => ({
      ...summed(villages),
      district: code,
      name: villages[0].districtName,
      villages,
    }));
    return sorted(groups, this.order).flatMap((group) => {
      const isOpen = isNarrowed || this.open.has(group.district);
      const heading = this.districtRow(group, isOpen);
      return isOpen ? [heading, ...this.flat(group.villages)] : [heading];
    });
  }

  villageRow(village) {
    const code = village.village;
    const row = this.row(code, () => {
      const name = button(village.name, () => this.choose(code), "link");
      const under = `Kec. ${village.districtName} · ${code}`;
      const flag = element("span", "flag", "belum tersentuh");
      const heading = element("th", "", name, flag, element("span", "under", under));
      return Object.assign(rowOf(heading), { flag });
    });
    row.flag.hidden = !village.untouched;
    row.line.classList.toggle("chosen", code === this.chosen);
    fill(row, village);
    return row.line;
  }

  districtRow(group, isOpen) {
    const row = this.row(group.district, () => {
      const toggle = button("", () => this.toggle(group.district), "link");
      const under = element("span", "under");
      const made = rowOf(element("th", "", toggle, under));
      made.line.className = "district";
      return Object.assign(made, { toggle, under });
    });
    write(row.toggle, `${isOpen ? "▾" : "▸"} Kec. ${group.name}`);
    row.toggle.setAttribute("aria-expanded", String(isOpen));
    const untouched = group.villages.filter((village) => village.untouched).length;
    const reached = untouched ? `, ${number(untouched)} belum tersentuh` : "";
    write(row.under, `${group.district} · ${number(group.villages.length)} desa${reached}`);
    fill(row, group);
    return row.line;
  }

  row(code, make) {
    if (!this.rows.has(code)) this.rows.set(code, make());
    return this.rows.get(code);
  }

  toggle(district) {
    if (!this.open.delete(district)) this.open.add(district);
    this.refresh();
  }

  download() {
    const content = csv(sorted(this.shown(), this.order), this.position);
    const url = URL.createObjectURL(new Blob([content], { type: "text/csv;charset=utf-8" }));
    const link = element("a");
    link.href = url;
    link.download = `pemilih-${this.electionId}-posisi-${this.position}.csv`;
    link.click();
    URL.revokeObjectURL(url);
  }
}

/** A line of the table: its heading, then a cell for each number. */
function rowOf(heading, line = element("tr")) {
  heading.scope = "row";
  const cells = Object.fromEntries(NUMBERS.map((column) => [column, element("td", "number")]));
  const level = element("span", "level");
  const text = element("span");
  cells.coverage.append(element("span", "bar", level), text);
  line.replaceChildren(heading, ...Object.values(cells));
  return { line, name: heading, cells, level, text };
}

function fill(row, tally) {
  for (const column of NUMBERS) {
    if (column !== "coverage") write(row.cells[column], number(tally[column]));
  }
  write(row.text, share(tally.coverage));
  row.level.style.width = `${100 * (tally.coverage || 0)}%`;
}
