"""The page in a browser: what a reader does with it, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="pip install 'maxent-ray[dev]' brings it")
from playwright.sync_api import Browser, Page, expect, sync_playwright

from maxent_ray.dashboard.report_file import write_report
from tests.dashboard.browser import WIDTHS, has_lines, served, visited, write_shown_results
from tests.system_programs import find_program

HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=2</script>'
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; of this module only, as its event loop would be in the way of others."""
    program = find_program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: one as ours are, one whose trial has a hostile name."""
    folder = tmp_path_factory.mktemp("results")
    write_shown_results(folder / "hostile")
    for record in (folder / "hostile").glob("*.jsonl"):
        escaped = json.dumps(HOSTILE)[1:-1]
        record.write_text(record.read_text().replace("analytic-1", escaped).replace("3,5,7=22:", escaped))
    write_shown_results(folder / "demo")  # last: the list begins with the newest
    return folder


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    """Address of a page on both runs."""
    with served(results) as (address, _):
        yield address


@pytest.fixture
def run(browser: Browser, address: str) -> Iterator[Page]:
    """The page of a run."""
    with visited(browser, f"{address}#/run/demo") as page:
        page.wait_for_selector("[data-signal=entropy] canvas")
        yield page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_from_the_list_to_curves(browser: Browser, address: str, width: int, theme: str) -> None:
    with visited(browser, address, width=width, color_scheme=theme) as page:
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        expect(page.locator(".state").first).to_contain_text(re.compile("running|interrupted"))
        page.get_by_role("link", name="demo").click()
        expect(page.get_by_role("heading", name="demo", level=1)).to_be_visible()
        assert has_lines(page, "entropy") and has_lines(page, "tau")
        for part in ("Held-out metrics", "Comparison", "Lineage", "Alarms", "Decisions", "Answers sampled", "Settings"):
            expect(page.get_by_role("heading", name=part, level=2)).to_be_visible()
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) == (theme == "dark")


def test_charts_say_what_they_show(run: Page) -> None:
    summary = run.locator("[data-signal=entropy] .summary")
    sentence = r"H ends at: analytic 1\.\d+ \(mean of 4\), \d+\.\d % (above|below) target"
    expect(summary).to_contain_text(re.compile(sentence))
    run.locator("[data-signal=entropy]").get_by_text("Values as a table").click()
    expect(run.locator("[data-signal=entropy] tbody tr")).to_have_count(60)
    expect(run.locator("[data-signal=entropy] table")).to_contain_text("then a clone of analytic-1")


def test_ticks_are_multiples_of_their_step(run: Page) -> None:
    """A sum of steps misses 0 by 1.4e−17, and the axis would say so."""
    ticks = "axes.linearTicks(-0.162, 0.062, 5).map((tick) => format.number(tick))"
    assert run.evaluate(ticks) == ["−0.15", "−0.1", "−0.05", "0", "0.05"]


def test_zoom_by_drag_and_back(run: Page) -> None:
    box = run.locator("[data-signal=entropy] .u-over").bounding_box()
    assert box is not None
    with run.expect_request(re.compile("series.*from=")) as asked:
        run.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
        run.mouse.down()
        run.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
        run.mouse.up()
    assert "from=" in asked.value.url
    told = run.locator(".zoom [role=status]")
    expect(told).to_have_text(re.compile(r"Zoomed to steps 1[56] to 3[01]"))
    run.keyboard.press("Escape")
    expect(told).to_contain_text("Drag over a chart")
    run.get_by_label("First step").fill("10")
    run.get_by_label("Last step").fill("20")
    run.get_by_role("button", name="Zoom", exact=True).click()
    expect(told).to_have_text("Zoomed to steps 10 to 20.")
    run.get_by_role("button", name="Reset zoom").click()
    expect(told).to_contain_text("Drag over a chart")


def test_legend_hides_trials_and_objectives_and_the_address_keeps_them(run: Page) -> None:
    run.get_by_role("button", name="None", exact=True).click()
    expect(run.locator("[data-signal=entropy] .summary")).to_contain_text("No values")
    run.locator("input[data-trial=analytic-2]").check()
    expect(run.locator("[data-signal=entropy] .summary")).to_contain_text(re.compile(r"^H ends at 1\.\d+, "))
    assert "trials=analytic-2" in run.url
    run.reload()
    expect(run.locator("input[data-trial=analytic-2]")).to_be_checked()
    expect(run.locator("input[data-trial=analytic-0]")).not_to_be_checked()
    run.locator("input[data-objective=truncated_backprop]").check()
    expect(run.locator("input[data-trial=truncated_backprop-3]")).to_be_checked()
    run.get_by_label("Means of objectives").check()
    run.get_by_role("button", name="H: values, change").click()
    assert has_lines(run, "entropy")


def test_decisions_are_filtered(run: Page) -> None:
    found = run.locator("#part-decisions .found")
    expect(found).to_contain_text("1 to 25 of 600 decisions")
    run.locator("select[name=trial]").select_option("analytic-2")
    expect(found).to_contain_text("of 60 decisions")
    run.get_by_role("button", name="Older").click()
    expect(found).to_contain_text("26 to 50")
    run.locator("select[name=reason]").select_option("clipped")
    expect(run.locator(".decisions tbody tr").first).to_contain_text("clipped")
    run.locator("select[name=trial]").select_option("")
    run.locator("select[name=reason]").select_option("")
    run.locator("input[name=text]").fill("tau_clipped")
    expect(found).to_contain_text("1 to 1 of 1 decision,")
    expect(run.locator(".alarms")).to_contain_text("β has had no effect")


def test_settings_and_answers(run: Page) -> None:
    run.locator("input[name=setting]").fill("target_kl")
    expect(run.locator(".settings tbody tr").first).to_contain_text("controller.target_kl")
    expect(run.locator(".sample")).to_contain_text("1 of 2 correct, 1 of 2 solutions found")
    expect(run.locator(".answer-list li").nth(1)).to_contain_text("wrong")


def test_lineage_tells_settings(run: Page) -> None:
    run.locator(".clone").first.focus()
    expect(run.locator(".lineage-note")).to_contain_text("went on with a copy of")
    expect(run.locator(".lineage-note table")).to_contain_text("controller.target_kl")


def test_two_trials_side_by_side_have_the_same_axes(browser: Browser, address: str) -> None:
    with visited(browser, f"{address}#/compare?left=demo/analytic-0&right=demo/grpo") as page:
        expect(page.locator("[data-signal=entropy] .summary").nth(1)).to_contain_text("H ends at")
        assert has_lines(page, "kl")
        differ = page.get_by_role("region", name="Settings that differ", exact=True)
        expect(differ).to_contain_text("controller.tau_rule.learning_rate")
        page.locator("select[name=right-trial]").select_option("analytic-3")
        expect(page.locator("select[name=right-trial]")).to_have_value("analytic-3")
        assert "right=demo/analytic-3" in page.url


def test_two_runs_are_chosen_in_the_list(browser: Browser, address: str) -> None:
    with visited(browser, address) as page:
        page.get_by_label("Compare demo").check()
        page.get_by_label("Compare hostile").check()
        page.get_by_role("button", name="Compare the two").click()
        expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
        assert has_lines(page, "entropy")


def test_by_keyboard_alone(browser: Browser, address: str) -> None:
    with visited(browser, address) as page:
        page.wait_for_selector(".runs a")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="demo")).to_be_focused()
        page.keyboard.press("Enter")
        chart = page.locator("[data-signal=kl] .plot")
        page.wait_for_selector("[data-signal=kl] canvas")
        chart.focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("[data-signal=kl] .readout")).to_contain_text("step 59")
        page.keyboard.press("+")
        expect(page.locator(".zoom [role=status]")).to_contain_text("Zoomed to steps")
        page.keyboard.press("Escape")
        expect(page.locator(".zoom [role=status]")).to_contain_text("Drag")


def test_the_theme_is_chosen_and_kept(run: Page) -> None:
    run.get_by_role("button", name="Dark theme").click()
    assert run.evaluate("document.documentElement.dataset.theme") == "dark"
    assert has_lines(run, "entropy")
    run.reload()
    expect(run.get_by_role("button", name="Light theme")).to_be_visible()


@pytest.mark.parametrize("view", ["", "#/run/hostile", "#/compare?left=hostile&right=demo"])
def test_texts_of_results_stay_text(browser: Browser, address: str, view: str) -> None:
    with visited(browser, f"{address}{view}") as page:
        page.wait_for_selector("h1")
        if view.startswith("#/run"):
            expect(page.locator(".entry .name", has_text="<img")).to_have_text(HOSTILE)
            page.locator("select[name=answers-trial]").select_option("analytic-0")
            expect(page.locator(".sample code").first).to_have_text(HOSTILE)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_a_report_opens_from_its_file(browser: Browser, results: Path, tmp_path: Path) -> None:
    report = write_report(results / "hostile", tmp_path / "sent.html")
    with visited(browser, report.path.as_uri()) as page:
        assert has_lines(page, "entropy")
        expect(page.locator("#connection")).to_contain_text("Report of")
        assert page.evaluate("window.hacked") is None
        page.locator("select[name=reason]").select_option("clipped")
        expect(page.locator(".decisions tbody tr").first).to_contain_text("clipped")
        page.get_by_role("link", name="Compare two trials").click()
        expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
        assert has_lines(page, "kl")


def test_a_report_prints_every_part(browser: Browser, results: Path, tmp_path: Path) -> None:
    report = write_report(results / "demo", tmp_path / "sent.html")
    with visited(browser, report.path.as_uri(), color_scheme="dark") as page:
        page.wait_for_selector("[data-signal=entropy] canvas")
        assert len(page.pdf()) > 50_000
        expect(page.locator("[data-signal=seconds] canvas")).to_have_count(1)  # its part was closed
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_run_that_grows_is_deleted_and_a_server_that_ends(browser: Browser, tmp_path: Path) -> None:
    folder = write_shown_results(tmp_path / "results" / "live")
    with (
        served(folder.parent) as (address, server),
        visited(browser, f"{address}#/run/live", server_ends=True) as page,
    ):
        page.wait_for_selector("[data-signal=entropy] canvas")
        expect(page.locator("#connection")).to_have_text("Live")
        last = json.loads((folder / "rows.jsonl").read_text().splitlines()[-1])
        with (folder / "rows.jsonl").open("a") as rows:
            rows.writelines(f"{json.dumps({**last, 'step': step})}\n" for step in range(60, 75))
        expect(page.get_by_label("Last step")).to_have_value("75", timeout=20_000)
        shutil.rmtree(folder)
        expect(page.locator("#notice")).to_contain_text("was deleted or cannot be read any more", timeout=20_000)
        server.terminate()
        server.wait()
        expect(page.locator("#connection")).to_contain_text("Not connected, last data of", timeout=20_000)


@pytest.mark.parametrize("view", ["", "#/run/demo", "#/compare?left=demo/analytic-0&right=demo/grpo"])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_accessibility(browser: Browser, address: str, view: str, theme: str, width: int) -> None:
    pytest.importorskip("axe_playwright_python", reason="pip install 'maxent-ray[dev]' brings it")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    settings = {"color_scheme": theme, "width": width, "bypass_csp": True}
    with visited(browser, f"{address}{view}", **settings) as page:
        page.wait_for_selector("main h1")
        page.evaluate(axe)
        broken = page.evaluate("axe.run(document)")["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in broken] == []
