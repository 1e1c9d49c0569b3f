"""The report of a trained run, in a real browser: what is there, what it asks for, how it fits."""

import json
import re

import pytest
import yaml

from tests.browser import as_phone, chromium, needs_chromium
from tfrs_sage.cli.main import main
from tfrs_sage.cli.run_folder import RunFolder
from tfrs_sage.report.evaluate_run import evaluate_run
from tfrs_sage.report.page.build import SECTIONS, write_report

pytestmark = pytest.mark.integration
ESCAPE, ARROW_RIGHT = "\ue00c", "\ue014"  # WebDriver's names of the keys


@pytest.fixture(scope="module")
def reported(preprocessed, tmp_path_factory):
    """A run with towers, embeddings, index, figures and users; what `report --json` gave."""
    import shutil

    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(preprocessed.path, folder)
    run = RunFolder(folder, preprocessed.config, preprocessed.input)
    for step in ("train", "towers", "embed", "index"):
        run.do(step)
    evaluate_run(folder, run.root, prefixes=[8], baselines=True, slices=["all"], lists=True)
    assert main(["cluster-users", "--dir", str(folder)]) == 0
    cell = {"recall@10": 0.4, "interval": [0.3, 0.5], "seeds": [0.4], "std": None}
    against = {"difference": -0.1, "interval": [-0.2, -0.05], "p_value": 0.01}
    cells = {"image + text": cell, "text only": {**cell, "against_reference": against}}
    group, noted = "search/product", {"train_seconds": 9.0, "steps": 6}
    variants = {name: {"tasks": {}, "groups": {group: one}, **noted} for name, one in cells.items()}
    plan = {"plan": "itemsage", "split": "test", "seeds": 1, "variants": variants}
    (folder / "metrics" / "ablation-itemsage.json").write_text(json.dumps(plan))
    return folder, write_report(folder, run.root, run.input)


@pytest.fixture(scope="module")
def browser(reported, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.get(f"file://{reported[1]['report']}")
        yield opened


@needs_chromium
def test_every_section_is_there(reported, browser) -> None:
    _, result = reported
    assert set(result["sections"].values()) == {"shown"}
    assert result["bytes"] < 15e6
    for name, title, _ in SECTIONS:
        section = browser.find_element("id", name)
        assert section.find_element("tag name", "h2").text == title
        assert browser.find_element("css selector", f'nav a[href="#{name}"]').is_displayed()
    ids = [one.get_attribute("id") for one in browser.find_elements("css selector", "[id]")]
    assert len(ids) == len(set(ids))
    for svg in browser.find_elements("css selector", "figure > svg"):
        assert svg.get_attribute("role") == "img" and svg.get_attribute("aria-label")
    assert browser.find_elements("css selector", "#neighbours li.hit")
    assert len(browser.find_elements("css selector", "#attention .product .images img")) > 5


@needs_chromium
def test_no_error_and_no_request(browser) -> None:
    assert [one for one in browser.get_log("browser") if one["level"] != "INFO"] == []
    asked = {
        message["params"]["request"]["url"]
        for line in browser.get_log("performance")
        if (message := json.loads(line["message"])["message"])["method"]
        == "Network.requestWillBeSent"
        and message["params"]["documentURL"].startswith("file:")  # not the browser's first tab
    }
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1
    loaded = "return [...document.images].every(i => i.loading === 'lazy' || i.naturalWidth > 0)"
    assert browser.execute_script(loaded)


@needs_chromium
def test_a_point_of_the_map_shows_its_picture(browser) -> None:
    page_map = browser.find_element("id", "space")
    hover = browser.find_element("id", "hover")
    browser.execute_async_script(
        "const [svg, done] = arguments; svg.scrollIntoView({block: 'center', behavior: 'instant'});"
        "requestAnimationFrame(() => requestAnimationFrame(done))",
        page_map,
    )
    assert not hover.is_displayed()
    points = json.loads(browser.find_element("id", "space-points").get_attribute("textContent"))[
        "points"
    ]
    x, y, title, _, square = next(one for one in points if one[4] >= 0)
    move = (
        "const [svg, x, y, size] = arguments, box = svg.getBoundingClientRect();"
        "svg.dispatchEvent(new PointerEvent('pointermove', {bubbles: true,"
        "clientX: box.left + x * box.width / size, clientY: box.top + y * box.width / size}))"
    )
    browser.execute_script(move, page_map, x, y, 760)
    assert hover.is_displayed() and hover.find_element("tag name", "b").text == title
    ring = browser.find_element("id", "space-ring").rect  # where the point is drawn
    assert abs(hover.rect["x"] - ring["x"]) < 300 and abs(hover.rect["y"] - ring["y"]) < 200
    shown = hover.find_element("class name", "square")
    assert shown.is_displayed() and "data:image/webp" in shown.value_of_css_property(
        "background-image"
    )
    assert square >= 0 and shown.value_of_css_property("background-position").startswith(
        f"{-(square % 40) * 72}px" if square % 40 else "0px"
    )
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].focus()", page_map)
    ActionChains(browser).send_keys(ESCAPE).perform()
    assert not hover.is_displayed()
    ActionChains(browser).send_keys(ARROW_RIGHT).perform()
    leftmost = min(points, key=lambda one: one[0])
    assert hover.find_element("tag name", "b").text == leftmost[2]


@needs_chromium
def test_it_fits_a_phone(browser) -> None:
    as_phone(browser)
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.execute_script(width) == [390, 390]
    opened = "document.querySelectorAll('details').forEach(one => { one.open = true })"
    browser.execute_script(opened)
    assert browser.execute_script(width) == [390, 390]


def test_the_card_is_markdown_with_a_head(reported) -> None:
    folder, result = reported
    text = (folder / "report" / "model_card.md").read_text(encoding="utf-8")
    _, head, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    values = yaml.safe_load(head)
    assert values["library_name"] == "tfrs-sage"
    figures = json.loads((folder / "metrics" / "evaluate-test.json").read_text())["tasks"]
    results = {one["task"]["name"]: one for one in values["model-index"][0]["results"]}
    assert set(results) == set(figures)
    for name, one in results.items():
        told = {metric["name"]: metric for metric in one["metrics"]}
        assert told["recall@10"]["value"] == round(figures[name]["recall@10"], 4)
        assert told["mrr"]["interval_95"] == [
            round(v, 4) for v in figures[name]["intervals"]["mrr"]
        ]
    for heading in ("## Use", "## Data", "## Training", "## Figures", "## Limits"):
        assert heading in body
    for warning in result["warnings"]:
        task, _, told_of_it = warning.partition(": ")
        assert (told_of_it if task in figures else warning) in body


def test_the_verb_says_what_it_wrote(reported, capsys, caplog) -> None:
    folder, _ = reported
    with caplog.at_level("INFO"):
        assert main(["report", "--dir", str(folder), "--split", "validation", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sections"]["figures"] == "the run was not evaluated on the validation split"
    assert found["sections"]["map"] == "shown" and "(12 of 12)" in caplog.text
    assert main(["report", "--dir", str(folder), "--split", "train"]) == 2
