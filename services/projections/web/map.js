// The map of villages: a drawing that is coloured anew with each reading, never drawn anew.

import { upperBounds } from "./counts.js";
import { byId, element, offer, svgElement, write } from "./page.js";
import { number, share } from "./words.js";

// The darker, the more is left to do; the ramp reads the same without seeing red or green.
const COVERAGE_BOUNDS = [0.95, 0.9, 0.8, 0.6, 0];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TOOLTIP_GAP_PX = 14;

const rounded = (bound) => `${Math.round(bound * 100)}%`;

function coverageScheme() {
  return {
    classOf: (village) => COVERAGE_BOUNDS.findIndex((bound) => village.coverage >= bound),
    labels: COVERAGE_BOUNDS.map((bound, i) => {
      if (i === 0) return `${rounded(bound)} ke atas`;
      const below = `di bawah ${rounded(COVERAGE_BOUNDS[i - 1])}`;
      return bound ? `${rounded(bound)} – ${below}` : below;
    }),
    says: (village) => `cakupan ${share(village.coverage)}`,
  };
}

function countScheme(name, words) {
  return (villages) => {
    const bounds = upperBounds(Math.max(1, ...villages.map((village) => village[name])));
    return {
      classOf: (village) =>
        village[name] === 0 ? 0 : bounds.findIndex((bound) => village[name] <= bound) + 1,
      labels: ["0", ...bounds.map((bound, i) => range(i ? bounds[i - 1] + 1 : 1, bound))],
      says: (village) => `${number(village[name])} ${words}`,
    };
  };
}

const range = (from, to) => (from === to ? number(to) : `${number(from)}–${number(to)}`);

function untouchedScheme() {
  return {
    classOf: () => 0,
    labels: ["sudah ada perekaman"],
    says: (village) => (village.untouched ? "belum tersentuh" : "sudah ada perekaman"),
  };
}

const MODES = {
  coverage: ["Cakupan perekaman", coverageScheme],
  eligible_unrecorded: [
    "Pemilih belum perekaman",
    countScheme("eligible_unrecorded", "pemilih belum perekaman"),
  ],
  first_time_unrecorded: [
    "Pemula belum perekaman",
    countScheme("first_time_unrecorded", "pemula belum perekaman"),
  ],
  untouched: ["Desa belum tersentuh", untouchedScheme],
};

export class VillageMap {
  /** `choose(code)` is called when a village is clicked or Enter is pressed on it. */
  constructor(choose) {
    this.choose = choose;
    this.paths = new Map();
    this.villages = new Map();
    this.chosen = null;
    this.mode = byId("map-mode");
    this.tooltip = byId("tooltip");
    offer(this.mode, Object.entries(MODES).map(([mode, [text]]) => [mode, text]));
    this.mode.addEventListener("change", () => this.colour());
  }

  /** Draws every village that has a shape, once. */
  draw(shapes) {
    this.svg = svgElement("svg", {
      viewBox: `0 0 ${shapes.width} ${shapes.height}`,
      role: "group",
      "aria-label": "Peta desa. Tombol panah berpindah ke desa di dekatnya, Enter memilih.",
    });
    this.svg.append(hatching());
    for (const [code, outline] of Object.entries(shapes.villages)) {
      const path = svgElement("path", { d: outline, role: "button", tabindex: "-1", "aria-pressed": "false" });
      path.dataset.code = code;
      this.paths.set(code, path);
      this.svg.append(path);
    }
    // Last, so that no neighbour is drawn over it.
    this.outline = svgElement("path", { class: "outline" });
    this.svg.append(this.outline);
    byId("map-box").replaceChildren(this.svg);
    this.listen();
  }

  listen() {
    const codeAt = (event) => event.target.dataset.code;
    const pick = (event) => codeAt(event) && this.choose(codeAt(event));
    this.svg.addEventListener("click", pick);
    this.svg.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick(event);
      } else if (ARROWS[event.key]) {
        event.preventDefault();
        this.step(event.target, ARROWS[event.key]);
      } else if (event.key === "Escape") this.hideTooltip();
    });
    this.svg.addEventListener("pointermove", (event) =>
      this.showTooltip(codeAt(event), event.clientX, event.clientY),
    );
    this.svg.addEventListener("pointerleave", () => this.hideTooltip());
    this.svg.addEventListener("focusin", (event) => {
      this.stopAt(event.target);
      const box = event.target.getBoundingClientRect();
      this.showTooltip(codeAt(event), box.left + box.width / 2, box.bottom);
    });
    this.svg.addEventListener("focusout", () => this.hideTooltip());
  }

  /** Colours the villages of a reading; those outside the election's area disappear. */
  show(villages) {
    if (!this.svg) return;
    this.villages = new Map(villages.map((village) => [village.village, village]));
    for (const [code, path] of this.paths) {
      path.classList.toggle("outside", !this.villages.has(code));
    }
    const shown = villages.filter((village) => this.paths.has(village.village));
    const shapeless = villages.filter((village) => !this.paths.has(village.village));
    if (!this.svg.querySelector('[tabindex="0"]') && shown.length) {
      this.stopAt(this.paths.get(shown[0].village));
    }
    write(byId("map-note"), shapeless.length ? withoutShape(shapeless) : "");
    byId("map-box").hidden = shown.length === 0;
    this.colour();
  }

  colour() {
    const villages = [...this.villages.values()];
    const scheme = MODES[this.mode.value][1](villages);
    for (const village of villages) {
      const path = this.paths.get(village.village);
      if (path) paint(path, village, scheme);
    }
    showLegend(scheme, villages);
    this.scheme = scheme;
  }

  /** Marks the village that is chosen, none for null. */
  mark(code) {
    if (!this.svg || code === this.chosen) return;
    const [before, path] = [this.paths.get(this.chosen), this.paths.get(code)];
    this.chosen = code;
    if (before) before.setAttribute("aria-pressed", "false");
    if (path) {
      path.setAttribute("aria-pressed", "true");
      this.stopAt(path);
    }
    this.outline.setAttribute("d", path ? path.getAttribute("d") : "");
  }

  /** The map is one stop of the Tab key; arrows move within it. */
  stopAt(path) {
    for (const other of this.svg.querySelectorAll('[tabindex="0"]')) {
      other.setAttribute("tabindex", "-1");
    }
    path.setAttribute("tabindex", "0");
  }

  step(from, [right, down]) {
    const here = middle(from);
    let nearest = null;
    let least = Infinity;
    for (const [code, path] of this.paths) {
      if (path === from || !this.villages.has(code)) continue;
      const there = middle(path);
      const ahead = (there.x - here.x) * right + (there.y - here.y) * down;
      const aside = Math.abs((there.x - here.x) * down) + Math.abs((there.y - here.y) * right);
      const far = ahead + 2 * aside;
      if (ahead > 0 && far < least) [nearest, least] = [path, far];
    }
    if (nearest) nearest.focus();
  }

  showTooltip(code, x, y) {
    const village = this.villages.get(code);
    if (!village) return this.hideTooltip();
    this.tooltip.replaceChildren(
      element("strong", "", village.name),
      element("span", "", `Kec. ${village.districtName} · ${village.village}`),
      element("span", "", `${number(village.eligible)} pemilih, ${this.scheme.says(village)}`),
      ...(village.untouched ? [element("span", "flag", "belum tersentuh")] : []),
    );
    this.tooltip.hidden = false;
    const { offsetWidth, offsetHeight } = this.tooltip;
    const left = Math.min(x + TOOLTIP_GAP_PX, window.innerWidth - offsetWidth - TOOLTIP_GAP_PX);
    const below = y + TOOLTIP_GAP_PX;
    const fits = below + offsetHeight < window.innerHeight;
    this.tooltip.style.left = `${Math.max(0, left)}px`;
    this.tooltip.style.top = `${fits ? below : y - TOOLTIP_GAP_PX - offsetHeight}px`;
    return undefined;
  }

  hideTooltip() {
    this.tooltip.hidden = true;
  }
}

function paint(path, village, scheme) {
  const isEmpty = village.eligible === 0;
  const wanted = isEmpty ? "empty" : village.untouched ? "" : `q${scheme.classOf(village)}`;
  path.setAttribute("class", wanted);
  // As an attribute: a stylesheet would look for the pattern in itself.
  path.setAttribute("fill", village.untouched ? "url(#hatching)" : "none");
  const says = isEmpty ? "tidak ada pemilih" : scheme.says(village);
  const name = `${village.name}, kecamatan ${village.districtName}: ${says}`;
  if (path.getAttribute("aria-label") !== name) path.setAttribute("aria-label", name);
}

function showLegend(scheme, villages) {
  const touched = villages.filter((village) => village.eligible && !village.untouched);
  const entries = scheme.labels.map((text, index) => [
    `q${index}`,
    text,
    touched.filter((village) => scheme.classOf(village) === index).length,
  ]);
  entries.push(
    ["hatched", "belum tersentuh", villages.filter((village) => village.untouched).length],
    ["empty", "tidak ada pemilih", villages.filter((village) => !village.eligible).length],
  );
  byId("legend").replaceChildren(
    ...entries.map(([name, text, count]) => {
      const swatch = element("span", `swatch ${name}`);
      return element("li", "", swatch, `${text} `, element("span", "muted", `(${number(count)})`));
    }),
  );
}

function hatching() {
  const pattern = svgElement("pattern", {
    id: "hatching",
    width: "14",
    height: "14",
    patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)",
  });
  pattern.append(
    svgElement("rect", { width: "14", height: "14", fill: "#ffffff" }),
    svgElement("rect", { width: "6", height: "14", fill: "#1a1a1a" }),
  );
  const definitions = svgElement("defs");
  definitions.append(pattern);
  return definitions;
}

function middle(path) {
  const box = path.getBBox();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

const MOST_NAMED = 20;

function withoutShape(villages) {
  const named = villages.slice(0, MOST_NAMED).map((v) => `${v.name} (${v.village})`);
  const more = villages.length > MOST_NAMED ? ", dan lainnya" : "";
  return `${number(villages.length)} desa tanpa batas di peta, lihat tabel: ${named.join(", ")}${more}.`;
}
