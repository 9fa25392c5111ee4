"""Make the screenshots of the documentation: the results page on real results, which it only reads.

python docs/_tools/screenshots.py results demo
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.dashboard.browser import served

IMAGES = Path(__file__).parents[1] / "images"
MOST_BYTES = 200_000
FREQUENT = 176


def main(results: Path, name: str) -> None:
    """Take all pictures: of the list of runs, and of the run of a comparison."""
    with sync_playwright() as playwright, served(results) as (address, _):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        run = f"{address}#/run/{name}"
        take(browser, "page-runs", address, height=420)
        take(browser, "page-curves", run)
        take(browser, "page-distance", run, prepare=show_means)
        take(browser, "page-lineage", f"{run}?section=lineage", height=640, prepare=show_clone)
        take(browser, "page-decisions-dark", f"{run}?section=decisions", height=640, theme="dark")
        sides = f"left={name}/analytic-0&right={name}/grpo"
        take(browser, "page-side-by-side", f"{address}#/compare?{sides}", height=700)
        take(browser, "page-narrow", run, width=400, height=820, theme="dark")
        browser.close()


def take(
    browser: Browser,
    name: str,
    address: str,
    *,
    width: int = 1280,
    height: int = 900,
    theme: str = "light",
    prepare: Callable[[Page], None] | None = None,
) -> None:
    """Take one picture."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce")
    page.goto(address)
    page.wait_for_selector("main h1")
    page.wait_for_load_state("domcontentloaded")
    page.wait_for_timeout(1500)
    if prepare is not None:
        prepare(page)
        page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    few_colours(picture).save(IMAGES / f"{name}.png", optimize=True)
    size = (IMAGES / f"{name}.png").stat().st_size
    assert size <= MOST_BYTES, f"{name} has {size} bytes"
    print(name, size)
    page.close()


def few_colours(picture: Image.Image) -> Image.Image:
    """Keep 256 colours exactly, the most frequent ones and the most different of the others; replace the rest."""
    pixels = np.asarray(picture).reshape(-1, 3)
    colours, inverse, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    spread = colours.astype(int)
    kept = list(np.argsort(-counts)[:FREQUENT])
    nearest = np.full(len(colours), -1)
    distance = np.full(len(colours), np.iinfo(int).max)
    for place in range(min(256, len(colours))):
        if place == len(kept):
            kept.append(int(distance.argmax()))
        away = ((spread - spread[kept[place]]) ** 2).sum(axis=1)
        nearest[away < distance] = place
        distance = np.minimum(distance, away)
    result = Image.fromarray(nearest[inverse.reshape(-1)].astype(np.uint8).reshape(picture.height, picture.width), "P")
    result.putpalette(colours[kept].tobytes())
    return result


def show_means(page: Page) -> None:
    """Show the means of objectives and the distance from targets."""
    page.get_by_label("Means of objectives").check()
    for signal in ("H", "KL"):
        page.get_by_role("button", name=f"{signal}: values, change").click()
    page.locator("[data-signal=entropy] .u-over").hover()


def show_clone(page: Page) -> None:
    """Tell the settings of the first clone."""
    page.locator(".clone").first.focus()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
