"""The demo page in Chromium against a real server: what its users see and do."""

import json
import time
from urllib.parse import urlencode

import pytest

from serving.security import REFUSED, Token
from tests.browser import chromium, needs_chromium
from tests.serving.page.shown_run import MARKUP, shown

pytestmark = [pytest.mark.integration, needs_chromium]
WAIT_S = 20


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(driver, server):
    """The page, and at the end no complaint in the console."""
    driver.set_window_size(1280, 900)
    shown_page = Page(driver, f"http://127.0.0.1:{server.rest_port}/")
    yield shown_page
    assert shown_page.complaints() == []


class Page:
    """The page as a user has it."""

    def __init__(self, driver, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, **fields: str) -> None:
        self.driver.get("about:blank")
        self.complaints()
        self.driver.get(f"{self.url}#{urlencode(fields)}")

    def complaints(self) -> list[str]:
        """What the console says, but for pictures that are not there: their place shows a sign."""
        told = [one["message"] for one in self.driver.get_log("browser")]
        return [one for one in told if not ("/page/images/" in one and "404" in one)]

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return self.driver.execute_script(script, selector)

    def until(self, found, expected) -> None:
        """Waits until what a function finds is what is expected."""
        end = time.monotonic() + WAIT_S
        while (now := found()) != expected:
            assert time.monotonic() < end, f"found {now!r}, not {expected!r}"
            time.sleep(0.05)

    def until_texts(self, selector: str, expected: list[str]) -> None:
        self.until(lambda: self.texts(selector), expected)

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        script = "const e = document.activeElement; return e.dataset.id || e.id || e.tagName"
        return self.driver.execute_script(script)

    def hash(self) -> str:
        return self.driver.execute_script("return location.hash")


TITLES = ".grid .title"
EXAMPLES = ["Red sofa", "green", "BLUE blue sofa"]  # of the warm-up requests
BY_RED_SOFA = ["Red sofa", MARKUP, "Plain sofa", "dull red", "Grüner Stuhl", "Blue one"]


def test_search_as_you_type(page) -> None:
    page.open()
    page.until_texts("h1", ["Search 166 products"])
    page.until_texts(TITLES, EXAMPLES)
    assert page.focused() == "query"  # one can type at once
    page.press("red sofa")
    page.until_texts(TITLES, BY_RED_SOFA)
    assert page.texts(".score")[:2] == ["score 6", "score 4"]
    assert page.hash() == "#q=red+sofa"
    page.until(lambda: page.texts("#status")[0].startswith("6 products for “red sofa” in "), True)
    page.until(lambda: [one.get_attribute("alt") for one in page.all(".shown img")], ["", ""])
    # No picture, a broken one, one outside of the folder: a sign each.
    page.until(lambda: len(page.all(".picture .sign")), 4)
    page.press(*["\ue003"] * 8, "green")  # Backspace
    page.until(lambda: page.texts(TITLES)[:1], ["Grüner Stuhl"])
    page.driver.back()  # one search is one entry of the history
    page.until_texts("h1", ["Search 166 products"])


def test_words_of_the_catalogue_are_never_markup(page) -> None:
    page.open(similar="red chair")
    page.until_texts("article h1", [MARKUP])
    assert page.all("article img") == [] and page.all("article a") == []  # no javascript: link
    assert "owned" not in page.driver.title.split(" ")[0]
    page.open(similar="dull red")
    page.until_texts("article a", ["shop.example"])
    page.open(q="<script>document.title='owned'</script>")
    page.until(lambda: len(page.texts(TITLES)), 6)
    assert page.all("main script") == []


def test_similar_products_and_the_way_back(page) -> None:
    page.open(q="red sofa")
    page.until_texts(TITLES, BY_RED_SOFA)
    page.all(".card")[0].click()
    page.until_texts("article h1", ["Red sofa"])
    assert page.hash() == "#similar=red+sofa"
    page.until_texts("h2", ["Similar products"])
    assert page.texts(TITLES) == [MARKUP, "Plain sofa", "dull red", "Grüner Stuhl", "Blue one"]
    assert page.texts("dt") == ["Id", "Brand"] and page.texts("dd") == ["red sofa", "Hay"]
    page.until(lambda: page.driver.switch_to.active_element.text, "Red sofa")
    page.all(".back")[0].click()
    page.until_texts(TITLES, BY_RED_SOFA)
    page.until(page.focused, "red sofa")  # where one was


def test_products_that_are_not_there(page) -> None:
    page.open(similar="no such product")
    page.until_texts(".note h1", ["No such product"])
    page.open(similar="0.0")  # in the tables, not in the model
    page.until_texts("article h1", ["Item 0.0"])
    assert "does not know this product" in page.texts(".quiet")[0]
    (message,) = page.complaints()  # the refusal, as Chromium tells every one
    assert "400" in message


def test_a_user_has_clusters_and_rows_that_name_their_medoid(page) -> None:
    page.open()
    page.until(lambda: page.all("#people")[0].is_displayed(), True)
    page.all("#people")[0].click()
    page.until_texts("#tiles .title", ["u", "v", "w", "x"])
    assert page.texts("#tiles .details")[0] == "2 interests · 6 actions"
    page.all("#tiles .card")[0].click()
    page.until_texts("h1", ["User u"])
    assert len(page.all(".clusters .card")) == 2
    assert page.texts(".pill") == ["drawn"] * len(page.all("section"))
    medoids = [one.get_attribute("data-id") for one in page.all(".clusters .card")]
    rows = page.all("section")
    assert {one.get_attribute("data-medoid") for one in rows} <= set(medoids)
    for row in rows:
        medoid = row.get_attribute("data-medoid")
        assert row.find_element("css selector", "h3").text == f"Because of\nItem {medoid}"
        shown_ids = [
            one.get_attribute("data-id") for one in row.find_elements("css selector", ".card")
        ]
        assert shown_ids and {one[0] for one in shown_ids} == {medoid[0]}
    page.all(".bar-of-words .chip")[0].click()
    page.until(page.hash, "#user=u&seed=1")
    page.open(users="")
    page.until(lambda: len(page.all("#tiles .card")), 4)
    page.all("#part")[0].send_keys("zoe")
    page.until_texts("#tiles .chip", ["Open zoe all the same"])
    page.all("#tiles .chip")[0].click()
    page.until_texts("h1", ["User zoe"])
    page.until_texts("h3", ["Popular with other users"])
    assert page.texts(".lead")[0].startswith("Nothing is known of this user yet")
    page.until_texts("#status", ["User zoe is not known"])


def test_the_keyboard_alone(page) -> None:
    keys = page_keys()
    page.open()
    page.until(page.focused, "query")
    page.press("red sofa")
    page.until_texts(TITLES, BY_RED_SOFA)
    page.press(keys.ARROW_DOWN)
    assert page.focused() == "red sofa"
    page.press(keys.ARROW_RIGHT, keys.ARROW_RIGHT, keys.ARROW_LEFT)
    assert page.focused() == "red chair"
    page.press(keys.END)
    assert page.focused() == "blue-1"
    page.press(keys.HOME, keys.ARROW_UP)
    assert page.focused() == "query"
    page.press(keys.ARROW_DOWN, keys.ENTER)
    page.until_texts("article h1", ["Red sofa"])
    page.press(keys.ESCAPE)
    page.until_texts(TITLES, BY_RED_SOFA)
    page.until(page.focused, "red sofa")
    page.press(keys.ESCAPE)
    assert page.focused() == "query"
    page.press(keys.ESCAPE)
    page.until_texts("h1", ["Search 166 products"])
    # Tab goes from the field to the views and then to the first choice.
    page.press(keys.TAB)
    assert page.focused() == "people"
    page.press(keys.TAB)
    assert page.focused() == "Red sofa"
    page.press("/")
    assert page.focused() == "query"


def page_keys():
    from selenium.webdriver.common.keys import Keys

    return Keys


def test_arrows_move_by_rows_of_the_grid(page) -> None:
    keys = page_keys()
    page.driver.set_window_size(560, 900)  # two columns
    page.open(q="red sofa")
    page.until_texts(TITLES, BY_RED_SOFA)
    page.all("#query")[0].click()
    page.press(keys.ARROW_DOWN, keys.ARROW_RIGHT, keys.ARROW_DOWN)
    assert page.focused() == "dull red"  # the fourth, below the second
    page.press(keys.ARROW_UP)
    assert page.focused() == "red chair"


@pytest.mark.parametrize("fields", [{}, {"q": "red sofa"}, {"similar": "grün"}, {"user": "u"}])
def test_a_phone_has_nothing_to_scroll_sideways(page, fields) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open(**fields)
        page.until(lambda: len(page.texts("h1, .grid .card")) > 0, True)
        page.until(lambda: page.all("[aria-busy]"), [])
        sizes = "return [document.documentElement.scrollWidth, innerWidth]"
        assert page.driver.execute_script(sizes) == [360, 360]
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_answer_that_is_late_is_dropped(page) -> None:
    page.open(q="sofa")
    page.until(lambda: page.texts(TITLES)[:1], ["Plain sofa"])
    # The answer for `green` comes a second later than that for `blue`.
    page.driver.execute_script(
        "const real = window.fetch; window.asked = 0; window.late = 0;"
        "window.fetch = async (path, options) => {"
        "  const answer = await real(path, {...options, signal: undefined});"
        "  if (options.body?.includes('green')) {"
        "    window.asked++; await new Promise(go => setTimeout(go, 1000)); window.late++; }"
        "  return answer; };"
    )
    page.driver.execute_script("location.hash = 'q=green'")
    page.until(lambda: page.driver.execute_script("return window.asked"), 1)
    page.driver.execute_script("location.hash = 'q=blue'")
    page.until(lambda: page.texts(TITLES)[:1], ["Blue one"])
    page.until(lambda: page.driver.execute_script("return window.late"), 1)
    time.sleep(0.2)
    assert page.texts(TITLES)[:1] == ["Blue one"]


def test_typing_asks_once_for_a_word(page) -> None:
    page.open()
    page.until_texts("h1", ["Search 166 products"])
    page.driver.execute_script(
        "const real = window.fetch; window.asked = [];"
        "window.fetch = (path, options) => {"
        "  if (options.body) window.asked.push(JSON.parse(options.body).inputs.query[0]);"
        "  return real(path, options); };"
        "const field = document.getElementById('query');"
        "for (const end of [1, 2, 3, 4]) {"
        "  field.value = 'sofa'.slice(0, end); field.dispatchEvent(new Event('input')); }"
    )
    page.until(lambda: page.texts(TITLES)[:1], ["Plain sofa"])
    assert page.driver.execute_script("return window.asked") == ["sofa"]


def _network(driver, offline: bool) -> None:
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**conditions, "offline": offline})


def test_a_server_that_cannot_be_reached_is_told_and_tried_again(page) -> None:
    page.open(q="sofa")
    page.until(lambda: page.texts(TITLES)[:1], ["Plain sofa"])
    _network(page.driver, offline=True)
    page.driver.execute_script("location.hash = 'q=green'")
    page.until_texts(".note h1", ["No connection"])
    assert page.texts("#status") == ["The server does not answer."]
    _network(page.driver, offline=False)
    page.all(".note button")[0].click()
    page.until(lambda: page.texts(TITLES)[:1], ["Grüner Stuhl"])
    assert all("ERR_INTERNET_DISCONNECTED" in one for one in page.complaints())


def test_a_server_that_shuts_down_says_so(run, driver) -> None:
    with shown(run) as server:
        page = Page(driver, f"http://127.0.0.1:{server.rest_port}/")
        page.open(q="sofa")
        page.until(lambda: page.texts(TITLES)[:1], ["Plain sofa"])
    driver.execute_script("location.hash = 'q=green'")  # its connection is open still
    page.until(lambda: page.texts(".note h1") != [], True)
    assert page.texts(".note h1")[0] in ("Not just now", "No connection")
    page.complaints()


def test_a_server_with_a_token_is_asked_for_it(run, driver) -> None:
    with shown(run, token=Token("a-token-for-tests")) as server:
        page = Page(driver, f"http://127.0.0.1:{server.rest_port}/")
        page.open(q="red sofa")
        page.until_texts(".note h1", ["A token is needed"])
        page.all("#token")[0].send_keys("another-token-than-that\n")
        page.until_texts("#status", [REFUSED])
        page.all("#token")[0].send_keys("a-token-for-tests\n")
        page.until_texts(TITLES, BY_RED_SOFA)
        page.until(lambda: len(page.all(".shown img")), 2)  # pictures too
        assert all("401" in one for one in page.complaints())
        driver.execute_script("sessionStorage.clear()")


def test_what_the_server_refuses_is_told_in_its_words(page) -> None:
    page.open(user="u" * 1025)
    page.until_texts(".note h1", ["That did not work"])
    page.until_texts("#status", ["An id has at most 1024 characters. Received: 1025."])
    (message,) = page.complaints()
    assert "400" in message


def test_screen_readers_hear_names(page) -> None:
    page.open(q="red sofa")
    page.until_texts(TITLES, BY_RED_SOFA)
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = {
        (one["role"]["value"], one["name"]["value"])
        for one in tree
        if not one["ignored"] and "name" in one and "role" in one
    }
    assert ("searchbox", "Search products") in names
    assert ("link", "Red sofa Hay score 6") in names
    assert any(role == "search" for role, _ in names)
    assert "polite" in json.dumps([one.get_attribute("aria-live") for one in page.all("#status")])
