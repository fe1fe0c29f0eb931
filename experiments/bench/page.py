"""From a stroke to its answer: a browser writes on a running service's page, which says what each answer took.

    python -m experiments.bench.page http://127.0.0.1:8000 --digits 20

The clock starts when the browser gets the newest movement of the pointer and ends when the answer stands in the page:
drawing, encoding, the request and the bars are all in it.
"""

import argparse
import json
import shutil

import numpy as np
from playwright.sync_api import sync_playwright

SEVEN = [
    (80, 70),
    (110, 70),
    (140, 70),
    (170, 70),
    (200, 70),
    (192, 90),
    (174, 124),
    (156, 158),
    (138, 192),
    (120, 215),
]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WATCH = """() => {
    const shown = document.getElementById("time");
    window.answered = [];
    new MutationObserver(() => answered.push(shown.textContent)).observe(shown, { childList: true });
}"""


def measure(url: str, digits: int = 20) -> dict[str, float]:
    """Percentiles of the milliseconds from a movement to its answer, at the speed of a hand."""
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM) as browser:
        page = browser.new_page()
        page.goto(url)
        box = page.locator("#sheet").bounding_box()
        assert box
        page.evaluate(WATCH)
        for _ in range(digits):
            for moved, (x, y) in enumerate(SEVEN):
                page.mouse.move(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280)
                if not moved:
                    page.mouse.down()
                page.wait_for_timeout(33)
            page.mouse.up()
            page.wait_for_timeout(100)
            page.keyboard.press("Escape")
        answered = page.evaluate("answered")
    taken = np.array([float(words.split()[2]) for words in answered if words])
    median, high = np.percentile(taken, (50, 99))
    return {"answers": len(taken), "p50_ms": median, "p99_ms": high}


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds from a stroke on the page to its answer.")
    parser.add_argument("url")
    parser.add_argument("--digits", type=int, default=20)
    args = parser.parse_args()
    print(json.dumps(measure(args.url, args.digits)))


if __name__ == "__main__":
    main()
