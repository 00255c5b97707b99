// Pure work on tallies: sums, filters, orders, colour classes and CSV. No page, no network.

import { COUNTS } from "./words.js";

const NAMES = Object.keys(COUNTS);
const CLASSES = 5;
const BYTE_ORDER_MARK = "\ufeff"; // else Excel takes the file for Windows-1252

/** What the tallies of some villages come to together, in the members of a row. */
export function summed(villages) {
  const sum = Object.fromEntries(NAMES.map((name) => [name, 0]));
  sum.tps_min = 0; // villages are not merged for a polling station
  for (const village of villages) {
    for (const name of NAMES) sum[name] += village[name];
    sum.tps_min += village.tps_min;
  }
  sum.coverage = sum.eligible ? sum.eligible_recorded / sum.eligible : null;
  sum.untouched = sum.eligible > 0 && sum.eligible_recorded === 0;
  return sum;
}

/** Villages by the code of their district, in the order given. */
export function byDistrict(villages) {
  const found = new Map();
  for (const village of villages) {
    if (!found.has(village.district)) found.set(village.district, []);
    found.get(village.district).push(village);
  }
  return found;
}

/** The villages that a search, a district and "untouched only" leave. */
export function filtered(villages, { search, district, onlyUntouched }) {
  const words = search.toLocaleLowerCase("id").split(/\s+/).filter(Boolean);
  return villages.filter(
    (village) =>
      (!district || village.district === district) &&
      (!onlyUntouched || village.untouched) &&
      words.every(
        (word) =>
          village.village.startsWith(word) ||
          village.name.toLocaleLowerCase("id").includes(word) ||
          village.districtName.toLocaleLowerCase("id").includes(word),
      ),
  );
}

/** Rows in the order of a column; those without a value last, equal ones by code. */
export function sorted(rows, { column, descending }) {
  const direction = descending ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [left, right] = [one[column], other[column]];
    if (left === null || right === null) {
      return (left === null) - (right === null) || compared(codeOf(one), codeOf(other));
    }
    return direction * compared(left, right) || compared(codeOf(one), codeOf(other));
  });
}

const codeOf = (row) => row.village || row.district;

function compared(left, right) {
  if (typeof left === "string") return left.localeCompare(right, "id");
  return Number(left) - Number(right);
}

/** The upper bounds of the classes from 1 up to a greatest value: equal steps of 1, 2 or 5. */
export function upperBounds(greatest) {
  const wanted = Math.max(1, greatest / CLASSES);
  const magnitude = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((part) => part * magnitude).find((part) => part >= wanted);
  return Array.from({ length: CLASSES }, (_, index) => step * (index + 1));
}

/** Villages as CSV for an Indonesian spreadsheet: semicolons between cells, decimal commas. */
export function csv(villages, position) {
  const heading = ["kode", "desa_kelurahan", "kecamatan", ...NAMES, "coverage", "untouched"];
  const lines = villages.map((village) => [
    village.village,
    village.name,
    village.districtName,
    ...NAMES.map((name) => village[name]),
    village.coverage === null ? "" : String(village.coverage).replace(".", ","),
    village.untouched,
    village.tps_min,
    position,
  ]);
  return (
    BYTE_ORDER_MARK +
    [[...heading, "tps_min", "position"], ...lines]
      .map((cells) => `${cells.map(cell).join(";")}\r\n`)
      .join("")
  );
}

function cell(value) {
  // A text that begins like a formula would be one in a spreadsheet.
  const text = String(value).replace(/^[=+\-@\t\r]/, "'$&");
  return /[;"\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}
