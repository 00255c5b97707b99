// Numbers, times and the names of counts as an Indonesian office writes them.

const ZONE = "Asia/Jakarta";
const DAY_MS = 86400000;

const whole = new Intl.NumberFormat("id-ID");
const signed = new Intl.NumberFormat("id-ID", { signDisplay: "exceptZero" });
const percent = new Intl.NumberFormat("id-ID", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const moment = new Intl.DateTimeFormat("id-ID", {
  day: "numeric",
  month: "long",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZone: ZONE,
});
const day = new Intl.DateTimeFormat("id-ID", { dateStyle: "full", timeZone: "UTC" });
const parts = new Intl.DateTimeFormat("en-GB", {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZone: ZONE,
});

/** What a tally's counts are called, in the order in which a village's page lists them. */
export const COUNTS = {
  residents: "Penduduk",
  eligible: "Pemilih",
  eligible_male: "Pemilih laki-laki",
  eligible_female: "Pemilih perempuan",
  eligible_recorded: "Pemilih sudah perekaman",
  eligible_unrecorded: "Pemilih belum perekaman",
  first_time: "Pemilih pemula",
  first_time_unrecorded: "Pemula belum perekaman",
  ikd_active: "IKD aktif",
  relocating: "Sedang pindah (SKPWNI terbit)",
  under_age: "Belum cukup umur",
  tni: "TNI",
  polri: "Polri",
  rights_revoked: "Hak pilih dicabut",
};

/** What an event did to a village's tally (`effect` of its history). */
export const EFFECTS = {
  registered: "terdaftar",
  moved_in: "pindah masuk",
  counted_again: "dihitung kembali",
  died: "meninggal",
  moved_out: "pindah keluar",
  no_longer_counted: "tidak lagi dihitung",
  became_eligible: "menjadi pemilih",
  no_longer_eligible: "bukan pemilih lagi",
  recorded: "sudah perekaman",
  no_longer_recorded: "perekaman batal",
  ikd_activated: "IKD aktif",
  ikd_withdrawn: "IKD tidak aktif lagi",
  move_begun: "surat pindah terbit",
  move_settled: "kepindahan selesai",
  counted_otherwise: "berganti golongan",
};

export const number = (value) => whole.format(value);
export const change = (value) => signed.format(value);

/** A share of one; cut, not rounded, so that 100% means everybody. A dash where there is nobody. */
export function share(value) {
  return value === null ? "–" : percent.format(Math.floor(value * 1000 + 1e-9) / 1000);
}

/** An instant (RFC 3339) in western Indonesian time. */
export const time = (written) => `${moment.format(new Date(written))} WIB`;

/** A day without a time (`YYYY-MM-DD`). */
export const date = (written) => day.format(new Date(`${written}T00:00:00Z`));

/** An instant as a datetime-local field in western Indonesian time writes it. */
export function localTime(written) {
  const part = Object.fromEntries(
    parts.formatToParts(new Date(written)).map(({ type, value }) => [type, value]),
  );
  return `${part.year}-${part.month}-${part.day}T${part.hour}:${part.minute}:${part.second}`;
}

/** What a datetime-local field holds, as an instant (RFC 3339) in western Indonesian time. */
export const instant = (field) => `${field.length === 16 ? `${field}:00` : field}+07:00`;

/** From an instant's day in western Indonesia to a day, such as "12 hari lagi". */
export function daysUntil(pollingDay, now) {
  const today = localTime(now).slice(0, 10);
  const days = Math.round((Date.parse(pollingDay) - Date.parse(today)) / DAY_MS);
  if (days === 0) return "hari ini";
  return days > 0 ? `${number(days)} hari lagi` : `${number(-days)} hari yang lalu`;
}

/** A region's official name without shouting: "KABUPATEN KERINCI" and "Siulak" alike. */
export function regionName(name) {
  return name === name.toUpperCase()
    ? name.toLowerCase().replace(/(^|[\s(-])\p{L}/gu, (start) => start.toUpperCase())
    : name;
}
