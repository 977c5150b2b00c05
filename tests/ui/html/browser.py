# SPDX-License-Identifier: GPL-2.0-or-later
"""A headless Chromium that opens pages from files, driven through chromedriver."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
)  # fmt: skip


class Browser:
    """One browser with a profile of its own."""

    def __init__(self, profile: Path, width: int = 1440, height: int = 1000) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        assert chromium and driver, "chromium and chromium-driver must be installed (.ci/run does it)"
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(driver))
        self.size(width, height)

    def size(self, width: int, height: int) -> None:
        """The size of the page's window in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """What the page is told that the user prefers: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, page: Path, timeout: float = 60) -> float:
        """Open a page and wait until all its pictures are drawn: the seconds from the command till then."""
        self.errors()
        start = time.monotonic()
        self.driver.get(page.as_uri())
        while not self.script("return document.documentElement.dataset.ready"):
            assert time.monotonic() - start < timeout, f"the page is not drawn: {self.errors()}"
            time.sleep(0.01)
        return time.monotonic() - start

    def script(self, code: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(code, *arguments)

    def errors(self) -> list[str]:
        """What the browser complained of since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def picture(self, selector: str) -> Image.Image:
        """A screenshot of one element."""
        (element,) = self.driver.find_elements("css selector", selector)
        return Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")

    def mouse(self, selector: str, x: float, y: float, kind: str = "mouseMoved", **options: Any) -> None:
        """A real pointer event at (x, y) of an element, counted from its upper left corner."""
        box = self.script(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top];", selector
        )  # fmt: skip
        event = {"type": kind, "x": box[0] + x, "y": box[1] + y, **options}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        self.settle()

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float], modifiers: int = 0) -> None:
        """Press at `start`, move, let go at `end`. `modifiers`: 1 Alt, 2 Ctrl, 8 Shift."""
        held: dict[str, Any] = {"button": "left", "buttons": 1, "clickCount": 1, "modifiers": modifiers}
        self.mouse(selector, *start, modifiers=modifiers)
        self.mouse(selector, *start, "mousePressed", **held)
        self.mouse(
            selector, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2, buttons=1, button="left", modifiers=modifiers
        )
        self.mouse(selector, *end, buttons=1, button="left", modifiers=modifiers)
        self.mouse(selector, *end, "mouseReleased", **held)

    def key(self, key: str) -> None:
        """Press a key where the focus is."""
        webdriver.ActionChains(self.driver).send_keys(key).perform()
        self.settle()


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser for the time of a with statement."""
    found = Browser(profile)
    try:
        yield found
    finally:
        found.driver.quit()
