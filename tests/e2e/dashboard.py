"""`python -m tests.e2e.dashboard`: a person's way through the dashboard, in a real Chromium.

It starts a system of its own, sends generated residents, and checks what the page shows against
what projections answer. It needs the packages chromium and chromium-driver; `--pictures` keeps
what the page looked like.
"""

import argparse
import csv
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from cli.sample_events import events, stations
from cli.stack import Stack
from tests.support.browser import Browser, NoBrowserError

ELECTION: Final = "/v1/elections/pilkada-2024"
BATCH: Final = 2_000
SEED: Final = 1
WITHIN_S: Final = 30
WIDE: Final = (1366, 900)
NARROW: Final = (360, 740)
ENTER, ARROW_RIGHT = "\ue007", "\ue014"
LATE_BIRTH: Final = "1990-01-01"

# The count behind each of the page's totals, in their order; none for what is not a count.
TOTALS: Final = (
    *("eligible", "eligible_male", "eligible_female", "eligible_recorded", "eligible_unrecorded"),
    *("first_time", "first_time_unrecorded", None, "tps_min"),
)

Row = dict[str, Any]


class Visit:
    """A browser at the dashboard, and the doors that its numbers are compared with."""

    def __init__(self, stack: Stack, browser: Browser, downloads: Path) -> None:
        self.browser = browser
        self.downloads = downloads
        self.last = 0
        self.token = stack.operator_token
        self.page = stack.urls["projections"] + "/"
        headers = {"Authorization": f"Bearer {self.token}"}
        self.projections = httpx.Client(base_url=self.page, headers=headers, timeout=WITHIN_S)
        self.registry = httpx.Client(
            base_url=stack.urls["registry"], headers=headers, timeout=WITHIN_S
        )

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.projections.get(path, params=parameters)
        assert answer.is_success, answer.text
        return answer.json()

    def villages(self, **parameters: Any) -> list[Row]:
        rows: list[Row] = self.get(ELECTION + "/villages", **parameters)["villages"]
        return rows

    def totals(self) -> list[int]:
        return [number(text) for text in self.browser.texts("#totals dt + dd")]

    def state(self) -> str:
        return self.browser.text("#state")

    def names(self) -> list[str]:
        """The names of the table's rows, from the top."""
        return self.browser.texts("#rows th button")


def number(text: str) -> int:
    """A whole number as an Indonesian reads it: points between thousands."""
    return int(text.replace(".", ""))


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.05)


def wanted_totals(visit: Visit, **parameters: Any) -> list[int]:
    total = visit.get(ELECTION + "/total", **parameters)
    untouched = sum(row["untouched"] for row in visit.villages(**parameters))
    return [untouched if name is None else total[name] for name in TOTALS]


def send(visit: Visit, residents: int) -> int:
    """Send the sample's events; the last position."""
    each_stations = (events(station, residents, SEED) for station in stations(2, residents))
    sent = itertools.chain.from_iterable(each_stations)
    position = 0
    while batch := list(itertools.islice(sent, BATCH)):
        answer = visit.registry.post(
            "/v1/events",
            json=batch,
            headers={"Content-Type": "application/cloudevents-batch+json"},
        )
        assert answer.is_success, answer.text
        position = max(position, *(each.get("position", 0) for each in answer.json()["results"]))
    visit.get(ELECTION + "/total", min_position=position)
    return position


def register(visit: Visit, village: str, nik: str) -> None:
    """One more voter of a village."""
    answer = visit.registry.post(
        "/v1/events",
        json={
            "specversion": "1.0",
            "id": "seen-on-the-dashboard",
            "source": "urn:dukcapil:station:KRC-99",
            "type": "id.dukcapil.resident.registered",
            "time": "2024-06-01T09:00:00+07:00",
            "data": {
                "nik": nik,
                "name": "Warga Contoh",
                "sex": "L",
                "birth_date": LATE_BIRTH,
                "marital_status": "B",
                "village": village,
            },
        },
        headers={"Content-Type": "application/cloudevents+json"},
    )
    assert answer.status_code == 201, answer.text


def a_token_is_asked_for(visit: Visit) -> None:
    browser = visit.browser
    browser.open(visit.page)
    until("the page asks for a token", lambda: browser.is_visible("#token"))
    browser.type("#token", "nobodys" + ENTER)
    until("a wrong token is told", lambda: "tidak dikenal" in browser.text("#token-problem"))
    browser.said()  # Chromium notes the 401 itself.
    browser.type("#token", visit.token + ENTER)
    until("the numbers are there", lambda: visit.totals() != [])
    kept = browser.run("return [JSON.stringify(sessionStorage), JSON.stringify(localStorage)]")
    assert visit.token in kept[0]
    assert visit.token not in kept[1] + browser.url


def totals_are_those_answered(visit: Visit) -> None:
    assert visit.totals() == wanted_totals(visit)
    until("the page says that it is current", lambda: visit.state().startswith("Terkini"))


def the_map_shows_every_village(visit: Visit) -> None:
    browser, villages = visit.browser, visit.villages()
    drawn = browser.run(
        "return [...document.querySelectorAll('#map-box path[data-code]:not(.outside)')]"
        ".map((path) => path.dataset.code)"
    )
    assert sorted(drawn) == [row["village"] for row in villages]
    for mode in ("eligible_unrecorded", "first_time_unrecorded", "untouched", "coverage"):
        choose(browser, "#map-mode", mode)
        counted = sum(
            number(text.rpartition("(")[2].rstrip(")")) for text in browser.texts("#legend li")
        )
        assert counted == len(villages)


def a_village_is_chosen_on_the_map(visit: Visit) -> None:
    browser = visit.browser
    code = browser.run(
        """
        return [...document.querySelectorAll("#map-box path[data-code]")].find((path) => {
          const box = path.getBoundingClientRect();
          const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
          return box.width > 12 && document.elementFromPoint(x, y) === path;
        }).dataset.code
        """
    )
    browser.click(f'#map-box path[data-code="{code}"]')
    row = visit.get(f"{ELECTION}/villages/{code}")
    assert browser.text("#village-title") == row["name"]
    assert code in browser.text("#village-body")
    shown = dict(zip(browser.texts(".counts dt"), browser.texts(".counts dd"), strict=True))
    assert number(shown["Pemilih"]) == row["eligible"]
    assert number(shown["Pemula belum perekaman"]) == row["first_time_unrecorded"]
    history = visit.get(f"{ELECTION}/villages/{code}/history")
    browser.click("#village-body form button")
    until("its history is read", lambda: browser.is_visible(".events"))
    assert f"{len(history['events'])} peristiwa" in browser.text(".history p").replace(".", "")


def the_map_is_walked_by_keys(visit: Visit) -> None:
    browser = visit.browser
    browser.run("document.querySelector('#map-box [tabindex=\"0\"]').focus()")
    before = browser.run("return document.activeElement.dataset.code")
    browser.press(ARROW_RIGHT)
    after = browser.run("return document.activeElement.dataset.code")
    assert after != before
    browser.press(ENTER)
    until("the village is chosen", lambda: browser.url.endswith(f"#desa={after}"))


def the_table_is_filtered_sorted_and_downloaded(visit: Visit) -> None:
    browser = visit.browser
    villages = visit.villages()
    browser.click('th[data-column="eligible_unrecorded"] button')
    most = sorted(villages, key=lambda row: (-row["eligible_unrecorded"], row["village"]))
    assert visit.names() == [row["name"] for row in most]
    browser.type("#search", "15.01.01")
    within = [row for row in most if row["district"] == "15.01.01"]
    until("the search narrows", lambda: visit.names() == [row["name"] for row in within])
    browser.click("#download")
    until("the file is there", lambda: any(visit.downloads.glob("*.csv")))
    (file,) = visit.downloads.glob("*.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig")), delimiter=";"))
    assert [row["kode"] for row in rows] == [row["village"] for row in within]
    assert [row["eligible"] for row in rows] == [str(row["eligible"]) for row in within]
    browser.clear("#search")
    choose(browser, "#grouping", "districts")
    assert len(visit.names()) == 18
    browser.click("#rows tr:first-child button")
    assert len(visit.names()) > 18
    browser.click("#rows tr:first-child button")
    choose(browser, "#grouping", "villages")
    browser.click("#only-untouched")
    assert sorted(visit.names()) == sorted(row["name"] for row in villages if row["untouched"])
    browser.click("#only-untouched")


def the_past_is_shown_as_the_past(visit: Visit) -> None:
    browser = visit.browser
    position = visit.last // 2
    browser.run(
        "const slider = document.getElementById('moment-slider');"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'));",
        position,
    )
    until("the past is marked", lambda: visit.state().startswith("Keadaan pada"))
    assert visit.totals() == wanted_totals(visit, as_of=position)
    browser.run(
        "document.getElementById('moment-time').value = arguments[0];"
        "document.getElementById('moment-form').requestSubmit();",
        "2020-01-01T00:00:00",
    )
    until("before the log there is nobody", lambda: visit.totals()[0] == 0)
    assert visit.state().startswith("Keadaan pada 1 Januari 2020")
    browser.click("#moment-now")
    until("it is the present again", lambda: visit.state().startswith("Terkini"))
    assert visit.totals() == wanted_totals(visit)


def a_new_voter_appears_while_one_looks(visit: Visit) -> None:
    browser = visit.browser
    browser.type("#search", "siulak")
    rows = visit.names()
    browser.run("window.scrollTo(0, 400)")
    at = browser.run("return window.scrollY")
    village = visit.villages()[0]["village"]
    register(visit, village, "1501010101900077")
    wanted = wanted_totals(visit, min_position=visit.get("/v1/progress")["log_position"])
    until("the new voter is counted", lambda: visit.totals() == wanted)
    assert visit.names() == rows
    assert browser.run("return document.getElementById('search').value") == "siulak"
    assert browser.run("return window.scrollY") == at
    browser.clear("#search")


def silence_is_told(visit: Visit) -> None:
    browser = visit.browser
    shown = visit.totals()
    browser.cut_off(True)
    until("silence is told", lambda: visit.state().startswith("Tidak terkini"))
    assert visit.totals() == shown
    browser.cut_off(False)
    until("it is current again", lambda: visit.state().startswith("Terkini"))
    browser.said()  # Chromium notes each request that failed.


def choose(browser: Browser, selector: str, value: str) -> None:
    browser.run(
        "const select = document.querySelector(arguments[0]); select.value = arguments[1];"
        "for (const kind of ['input', 'change']) select.dispatchEvent(new Event(kind));",
        selector,
        value,
    )


def nothing_came_from_elsewhere(visit: Visit) -> None:
    loaded = visit.browser.run("return performance.getEntries().map((e) => e.name)")
    elsewhere = [name for name in loaded if "://" in name and not name.startswith(visit.page)]
    assert not elsewhere
    assert not [name for name in loaded if visit.token in name]
    said = visit.browser.said()
    assert not said, said


def take_pictures(visit: Visit, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    browser = visit.browser
    for name, size in (("wide", WIDE), ("narrow", NARROW)):
        browser.window(*size)
        overflow = browser.run("return document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{name}: the page is {overflow} px too wide"
        browser.run("window.scrollTo(0, 0)")
        browser.picture(directory / f"{name}.png")
        browser.picture(directory / f"{name}-whole.png", whole=True)
    browser.window(*WIDE)
    browser.printed(directory / "printed.pdf")


STEPS: Final[dict[str, Callable[[Visit], None]]] = {
    "a token is asked for": a_token_is_asked_for,
    "the totals are those answered": totals_are_those_answered,
    "the map shows every village": the_map_shows_every_village,
    "a village is chosen on the map": a_village_is_chosen_on_the_map,
    "the map is walked by keys": the_map_is_walked_by_keys,
    "the table is filtered, sorted, downloaded": the_table_is_filtered_sorted_and_downloaded,
    "the past is shown as the past": the_past_is_shown_as_the_past,
    "a new voter appears while one looks": a_new_voter_appears_while_one_looks,
    "silence is told": silence_is_told,
    "nothing came from elsewhere": nothing_came_from_elsewhere,
}


def visit_all(visit: Visit, pictures: Path) -> None:
    for name, step in STEPS.items():
        try:
            step(visit)
        except AssertionError:
            visit.browser.picture(pictures / "failed.png")
            say(f"  FAILED  {name}; the page: {visit.state()}; console: {visit.browser.said()}")
            raise
        say(f"  ok      {name}")


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--residents", type=int, default=3_000)
    parser.add_argument("--pictures", type=Path, default=None, help="a directory for them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cacah-dashboard-", ignore_cleanup_errors=True) as kept:
        downloads = Path(kept) / "downloads"
        try:
            with (
                Browser.started(downloads) as browser,
                Stack(Path(kept) / "home", ports="free", announce=say) as stack,
            ):
                pictures = given.pictures or Path(kept)
                pictures.mkdir(parents=True, exist_ok=True)
                visit = Visit(stack, browser, downloads)
                browser.window(*WIDE)
                visit.last = send(visit, given.residents)
                say(f"{visit.last} events are counted; the dashboard is at {visit.page}")
                visit_all(visit, pictures)
                take_pictures(visit, pictures)
        except NoBrowserError as error:
            say(f"No browser: {error}.")
            return 2
    say("The dashboard shows what projections answer.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
