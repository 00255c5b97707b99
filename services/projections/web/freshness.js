// Whether the numbers on the screen are up to date, said honestly.

import { byId, write } from "./page.js";
import { number, time } from "./words.js";

const LATE_AFTER_MS = 5000; // between an event's recording and its counting
const SILENT_AFTER_MS = 12000; // since the last answer, however it came to be

/** Keeps what was last heard, and says what it means. */
export class Freshness {
  constructor() {
    this.heard = null;
    this.shown = null;
    this.pastMoment = null;
    this.isChecking = false;
    setInterval(() => this.tell(), 1000);
  }

  /** The service answered: its progress, what it waits for, and the election's state. */
  answered(progress, waiting, election) {
    this.heard = { progress, waiting, election, at: performance.now(), failed: false };
    this.isChecking = false;
  }

  failed() {
    this.heard = { ...this.heard, failed: true };
    this.isChecking = false;
    this.tell();
  }

  /** Nobody looked for a while, and nothing was asked: what stands there may be old. */
  checking() {
    this.isChecking = true;
    this.tell();
  }

  /** Numbers of a position came onto the screen. `pastMoment` is set for those of the past. */
  showing(progress, pastMoment) {
    this.shown = { progress, checkedAt: progress.now };
    this.pastMoment = pastMoment;
    this.tell();
  }

  forget() {
    this.heard = this.shown = this.pastMoment = null;
  }

  tell() {
    if (!this.heard || document.hidden) return;
    const [kind, sentence] = this.pastMoment ? this.past() : this.present();
    byId("freshness").className = `freshness ${kind}`;
    document.body.classList.toggle("not-current", kind === "bad");
    write(byId("state"), sentence);
    write(byId("state-detail"), this.detail());
  }

  past() {
    const words = `Keadaan pada ${this.pastMoment}: bukan angka terkini.`;
    return ["past", this.isSilent() ? `${words} Layanan sedang tidak menjawab.` : words];
  }

  present() {
    if (this.isChecking) return ["late", "Memeriksa apakah angka ini masih terkini …"];
    if (this.isSilent()) {
      return ["bad", "Tidak terkini: layanan tidak menjawab. Angka di bawah adalah yang terakhir diterima; halaman ini mencoba lagi sendiri."];
    }
    const { progress, waiting, election } = this.heard;
    if (!this.shown) {
      const isFirst = election.state === "folding";
      return ["late", isFirst ? "Pemilihan ini sedang dihitung untuk pertama kali; tunggu sebentar." : "Memuat angka …"];
    }
    if (waiting.length) {
      return ["late", `Mungkin tertinggal: layanan menunggu ${waiting.join(", ")}. Beri tahu operator bila berlanjut.`];
    }
    if (election.state === "folding") {
      return ["late", "Definisi pemilihan baru sedang dihitung; angka di bawah masih menurut definisi lama."];
    }
    const behind = progress.log_position - this.shown.progress.position;
    if (behind > 0 && this.isLate(progress)) {
      const since = progress.waiting_since;
      const oldest = since ? `, yang tertua dicatat ${time(since)}` : "";
      return ["late", `Tertinggal: ${number(behind)} peristiwa belum ada dalam angka ini${oldest}.`];
    }
    return ["good", "Terkini: semua peristiwa yang diterima sudah terhitung."];
  }

  /** Whether an event waits for long, to be counted or to come onto the screen. */
  isLate({ now, waiting_since: since }) {
    const waits = since === null ? 0 : Date.parse(now) - Date.parse(since);
    return waits > LATE_AFTER_MS || performance.now() - this.heard.at > LATE_AFTER_MS;
  }

  isSilent() {
    return this.heard.failed || performance.now() - this.heard.at > SILENT_AFTER_MS;
  }

  detail() {
    if (!this.shown) return "";
    const { position, recorded_at: recorded } = this.shown.progress;
    const last = recorded ? `, peristiwa terakhir dicatat ${time(recorded)}` : " (catatan masih kosong)";
    const asked = this.heard.progress ? this.heard.progress.now : this.shown.checkedAt;
    return `Posisi catatan ${number(position)}${last}. Diperiksa ${time(asked)}.`;
  }
}
