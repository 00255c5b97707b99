"""A real headless Chromium, driven over WebDriver: plain HTTP to chromedriver, no other package."""

import base64
import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
TIMEOUT_S: Final = 60
STARTED: Final = re.compile(r"started successfully on port (\d+)")
DEBIAN_PACKAGES: Final = "chromium chromium-driver"

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--lang=id",
)


class NoBrowserError(Exception):
    """Chromium or chromedriver is not installed."""


class Browser:
    """One window. Selectors are CSS; every method raises httpx.HTTPStatusError where it cannot."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http = http
        self._session = f"/session/{session}"

    def _post(self, path: str, **body: Any) -> Any:
        answer = self._http.post(self._session + path, json=body)
        assert answer.is_success, answer.text[:500]
        return answer.json()["value"]

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def refresh(self) -> None:
        self._post("/refresh")

    @property
    def url(self) -> str:
        return str(self._http.get(f"{self._session}/url").json()["value"])

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a JavaScript function returns."""
        return self._post("/execute/sync", script=script, args=arguments)

    def _element(self, selector: str) -> str:
        found = self._post("/element", using="css selector", value=selector)
        return f"/element/{found[ELEMENT]}"

    def click(self, selector: str) -> None:
        """A real click in the middle; refused where something else lies over it."""
        self._post(f"{self._element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        self._post(f"{self._element(selector)}/value", text=text)

    def clear(self, selector: str) -> None:
        self._post(f"{self._element(selector)}/clear")

    def press(self, *keys: str) -> None:
        """Keys, one after the other, for whatever has the focus."""
        actions = [{"type": way, "value": key} for key in keys for way in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return list(self.run(script, selector))

    def is_visible(self, selector: str) -> bool:
        script = "return document.querySelector(arguments[0])?.checkVisibility() ?? false"
        return bool(self.run(script, selector))

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def cut_off(self, is_offline: bool) -> None:
        """Take the network away, or give it back."""
        conditions = {"offline": is_offline, "latency": 0, "throughput": -1}
        self._post("/chromium/network_conditions", network_conditions=conditions)

    def window(self, width: int, height: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def said(self) -> list[str]:
        """What came onto the console since the last call: faults, and what the policy blocked."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]

    def picture(self, file: Path, *, whole: bool = False) -> None:
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))

    def printed(self, file: Path) -> None:
        """The page as it is printed, as PDF."""
        printed = self.devtools(
            "Page.printToPDF", preferCSSPageSize=True, printBackground=False, marginTop=0
        )
        file.write_bytes(base64.b64decode(printed["data"]))

    @classmethod
    @contextlib.contextmanager
    def started(cls, downloads: Path) -> Iterator[Self]:
        """A browser that keeps what it downloads in a directory. Raises NoBrowserError."""
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            raise NoBrowserError(f"install the packages {DEBIAN_PACKAGES} first")
        with _driver(driver) as address, httpx.Client(base_url=address, timeout=TIMEOUT_S) as http:
            options = {
                "binary": chromium,
                "args": FLAGS,
                "prefs": {"download.default_directory": str(downloads)},
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            answer = http.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
            assert answer.is_success, answer.text
            session = answer.json()["value"]["sessionId"]
            try:
                yield cls(http, session)
            finally:
                http.delete(f"/session/{session}")


@contextlib.contextmanager
def _driver(program: str) -> Iterator[str]:
    with subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if started := STARTED.search(line):
                    yield f"http://127.0.0.1:{started[1]}"
                    return
            raise NoBrowserError("chromedriver ended at its start")
        finally:
            process.terminate()
