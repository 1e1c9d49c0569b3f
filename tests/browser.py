"""A real browser for the tests of what people look at."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BINARY, DRIVER = "chromium", "chromedriver"


@contextmanager
def chromium(width: int = 1200, height: int = 900) -> Iterator[Any]:
    """Headless Chromium that notes its console and its requests; a skip where there is none."""
    binary, driver = shutil.which(BINARY), shutil.which(DRIVER)
    if binary is None or driver is None:
        pytest.skip(f"needs {BINARY} and {DRIVER} (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def as_phone(browser: Any, width: int = 390) -> None:
    """The page as a phone of that width shows it."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
