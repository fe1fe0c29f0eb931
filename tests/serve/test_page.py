"""The page, used as people use it: a real browser, a real server, pointers, files and keys."""

import base64
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FileChooser, Page, Route, expect, sync_playwright

from digitjax.data.datasets import Splits
from tests.serve.serving import Server, file_of, running

pytestmark = pytest.mark.slow

Stroke = list[tuple[float, float]]
WRITTEN: dict[int, list[Stroke]] = {
    3: [[(95, 80), (140, 55), (180, 80), (165, 120), (135, 135), (180, 150), (190, 190), (145, 220), (95, 200)]],
    5: [[(110, 65), (105, 130), (150, 120), (185, 150), (180, 200), (135, 220), (95, 205)], [(110, 65), (185, 65)]],
    7: [[(80, 70), (200, 70), (190, 95), (120, 215)]],
}
"""Strokes of digits on a sheet of 280 x 280."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium. In CI its absence is a failure, elsewhere the tests skip."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not path:
        assert not os.environ.get("DIGITJAX_BROWSER_REQUIRED"), "Chromium must be installed here"
        pytest.skip("the page's tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path)


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def server(corrections: Path) -> Iterator[Server]:
    with running(feedback_dir=corrections) as started:
        yield started


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console says against the page; empty at the end of every test."""
    return []


Opener = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, server: Server, complaints: list[str]) -> Iterator[Opener]:
    """Opens the page in a browser window of its own; it must ask nobody but its server."""
    contexts, addresses = [], []

    def open_page(path: str = "/", **options: Any) -> Page:
        contexts.append(browser.new_context(base_url=server.url, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    assert {address for address in addresses if not address.startswith(f"{server.url}/")} == set()


@pytest.fixture
def page(opened: Opener) -> Page:
    return opened(viewport={"width": 1200, "height": 900})


def on_screen(page: Page, stroke: Stroke) -> Stroke:
    box = page.locator("#sheet").bounding_box()
    assert box
    return [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in stroke]


def write(page: Page, strokes: list[Stroke], lift: bool = True) -> None:
    """By mouse; `lift` ends the last stroke."""
    for stroke in strokes:
        start, *rest = on_screen(page, stroke)
        page.mouse.move(*start)
        page.mouse.down()
        for place in rest:
            page.mouse.move(*place, steps=4)
        if lift or stroke is not strokes[-1]:
            page.mouse.up()


def expect_read(page: Page, digit: int) -> None:
    """The answer is there, to the eye and to a screen reader."""
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.get_by_role("status")).to_contain_text(str(digit))
    wait_until(page, lambda: int(np.argmax(shares(page))) == digit)


def shares(page: Page) -> list[int]:
    """Percents by digit."""
    return page.get_by_role("meter").evaluate_all("meters => meters.map(meter => +meter.ariaValueNow)")


def pixels(page: Page, canvas: str) -> np.ndarray:
    """[height, width, 4] of red, green, blue and opacity."""
    script = """canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, btoa(Array.from(data, byte => String.fromCharCode(byte)).join(""))];
    }"""
    height, width, content = page.locator(canvas).first.evaluate(script)
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(height, width, 4)


def wait_until(page: Page, happens: Callable[[], Any]) -> None:
    """As `tests.serving.wait_until`, while the browser goes on."""
    for _ in range(100):
        if happens():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen")


def settled(page: Page) -> None:
    """Gives what is wrongly still on its way the time to arrive."""
    page.wait_for_timeout(300)


def photo(*digits: np.ndarray) -> bytes:
    """Digits side by side in dark ink on bright paper."""
    cells = [np.pad(cv2.resize(digit, (84, 84), interpolation=cv2.INTER_CUBIC), 30) for digit in digits]
    return file_of(235 - (np.concatenate(cells, axis=1) * 0.8).astype(np.uint8))


def upload(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content}


@pytest.fixture
def clear_digits(server: Server, splits: Splits) -> dict[int, np.ndarray]:
    """By label, a digit that the model reads right."""
    images, labels = splits.test.images[:300], splits.test.labels[:300]
    answers = server.client.post("/predict/batch", json={"images": images.reshape(300, -1).tolist()}).json()
    right = [row["digit"] == label and row["confidence"] > 0.9 for row, label in zip(answers["predictions"], labels)]
    return {int(label): image for image, label in zip(images[right], labels[right])}


# --- writing ---


@pytest.mark.parametrize("digit", WRITTEN)
def test_a_written_digit_is_read(page, digit):
    write(page, WRITTEN[digit])
    expect_read(page, digit)


def test_the_answer_comes_while_the_pen_is_down_and_is_announced_when_it_is_lifted(page):
    write(page, WRITTEN[7], lift=False)
    expect(page.locator("#digit")).to_have_text("7")
    assert not page.get_by_role("status").text_content()
    page.mouse.up()
    expect_read(page, 7)


def test_a_finger_writes_and_does_not_scroll(opened):
    page = opened(viewport={"width": 360, "height": 480}, has_touch=True, is_mobile=True)
    touch = page.context.new_cdp_session(page)
    places = [(80 + 12 * i, 70) for i in range(11)] + [(200 - 8 * i, 70 + 13 * i) for i in range(1, 12)]
    for index, (x, y) in enumerate(on_screen(page, places)):
        kind = "touchMove" if index else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect_read(page, 7)
    assert page.evaluate("scrollY") == 0


def test_a_pen_pressed_harder_writes_broader(page):
    def ink(force: float) -> int:
        mouse = page.context.new_cdp_session(page)
        for kind, (x, y) in zip(["mousePressed", "mouseMoved", "mouseReleased"], on_screen(page, [(140, 50)] * 3)):
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            mouse.send("Input.dispatchMouseEvent", event | {"pointerType": "pen", "force": force})
        area = int((pixels(page, "#sheet")[..., 3] > 0).sum())
        page.keyboard.press("Escape")
        return area

    assert ink(0.9) > 1.3 * ink(0.2) > 0


def sent(page: Page, strokes: list[Stroke]) -> bytes:
    """The file that the page sends of a finished drawing."""
    page.evaluate("""() => {
        const ask = window.fetch;
        window.fetch = (path, options) => ask(path, { ...options, body: window.sent = options.body });
    }""")
    write(page, strokes)
    settled(page)
    script = "async () => btoa(String.fromCharCode(...new Uint8Array(await window.sent.arrayBuffer())))"
    return base64.b64decode(page.evaluate(script))


def decoded(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def test_what_is_sent_is_small_and_dark_on_white(page):
    picture = decoded(sent(page, WRITTEN[3]))
    assert (picture == picture[..., :1]).all()
    assert 100 < max(picture.shape) <= 112
    assert picture.min() == 0
    assert all((edge == 255).all() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]))


def test_one_request_is_under_way_at_a_time_and_the_newest_ink_wins(page):
    write(page, WRITTEN[5])
    expect_read(page, 5)
    settled(page)
    seen = pixels(page, "#seen")
    page.keyboard.press("Escape")

    held: list[Route] = []
    page.route("**/predict*", lambda route: held.append(route))
    write(page, WRITTEN[5])
    settled(page)
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#digit")).not_to_be_empty()
    settled(page)
    assert len(held) == 2
    held[1].continue_()
    expect_read(page, 5)
    assert (pixels(page, "#seen") == seen).all()


@pytest.mark.parametrize("how", ["button", "Control+z"])
def test_undo_takes_the_newest_stroke(page, how):
    write(page, WRITTEN[7])
    expect_read(page, 7)
    settled(page)
    before = pixels(page, "#seen"), pixels(page, "#sheet")
    write(page, [[(60, 200), (220, 200)], [(60, 240), (220, 240)]])
    settled(page)
    assert not (pixels(page, "#seen") == before[0]).all()
    for _ in range(2):
        if how == "button":
            page.get_by_role("button", name="Undo").click()
        else:
            page.keyboard.press(how)
    wait_until(page, lambda: (pixels(page, "#seen") == before[0]).all())
    assert (pixels(page, "#sheet") == before[1]).all()
    expect_read(page, 7)


@pytest.mark.parametrize("how", ["button", "Escape", "Delete"])
def test_clear_leaves_nothing_of_the_drawing_even_if_its_answer_comes_late(page, how):
    page.get_by_label("Show where it looked").check()
    write(page, WRITTEN[7])
    expect_read(page, 7)
    wait_until(page, lambda: pixels(page, "#sheet-heat").any())
    held: list[Route] = []
    page.route("**/predict*", lambda route: held.append(route))
    write(page, WRITTEN[3])
    if how == "button":
        page.get_by_role("button", name="Clear").click()
    else:
        page.keyboard.press(how)
    with page.expect_response("**/predict*"):
        held[0].continue_()
    settled(page)
    expect(page.locator("#sentence")).to_have_text("Nothing to read yet.")
    assert shares(page) == [0] * 10
    for canvas in ("#sheet", "#sheet-heat", "#seen", "#seen-heat"):
        assert not pixels(page, canvas).any()


def test_undo_brings_back_what_was_cleared_and_redo_takes_it_away_again(page):
    write(page, WRITTEN[7])
    expect_read(page, 7)
    before = pixels(page, "#sheet")
    page.keyboard.press("Escape")
    assert not pixels(page, "#sheet").any()
    page.keyboard.press("Control+z")
    assert (pixels(page, "#sheet") == before).all()
    expect_read(page, 7)
    for key in ("Control+y", "Control+z", "Control+Shift+z"):
        page.keyboard.press(key)
    assert not pixels(page, "#sheet").any()
    page.get_by_role("button", name="Undo").click()
    assert (pixels(page, "#sheet") == before).all()
    page.keyboard.press("Control+z")
    assert not pixels(page, "#sheet").any()


def moved(strokes: list[Stroke], right: float) -> list[Stroke]:
    return [[(0.45 * x + right, 0.45 * y + 80) for x, y in stroke] for stroke in strokes]


def test_a_number_is_read_while_it_is_written_each_digit_in_its_box(page):
    write(page, moved(WRITTEN[7], 10))
    write(page, moved(WRITTEN[3], 140))
    expect(page.locator("#digit")).to_have_text("73")
    expect(page.get_by_role("status")).to_contain_text("73")
    boxes = pixels(page, "#sheet-heat")[..., 3] > 0
    assert boxes[:, :140].any()
    assert boxes[:, 140:].any()
    assert shares(page) == [0] * 10
    page.keyboard.press("Control+z")
    expect_read(page, 7)
    assert not pixels(page, "#sheet-heat").any()


def test_the_last_answers_stay_and_come_back_to_the_sheet(page):
    cards = page.locator(".card")
    for digit in (7, 3):
        write(page, WRITTEN[digit])
        expect_read(page, digit)
        page.keyboard.press("Escape")
    expect(cards.locator(".text")).to_have_text(["3", "7"])
    for key in ("Control+z", "Escape"):  # the same drawing gets no second card
        page.keyboard.press(key)
    expect(cards).to_have_count(2)
    drawn = pixels(page, ".card:nth-child(2) canvas")[..., 3] > 0
    assert drawn.any()
    cards.nth(1).get_by_role("button", name="Look closer").click()
    expect_read(page, 7)
    on_sheet = cv2.resize(pixels(page, "#sheet")[..., 3], drawn.shape, interpolation=cv2.INTER_AREA) > 0
    assert (drawn == on_sheet).mean() > 0.97


def test_there_is_something_to_try(page):
    for _ in range(5):
        page.get_by_role("button", name="Try one").click()
        expect(page.get_by_role("status")).not_to_be_empty()
        expect(page.locator("#digit")).not_to_be_empty()


def test_a_server_with_a_key_is_given_it_once(browser):
    with running(api_key="secret") as server:
        page = browser.new_page(base_url=server.url)
        page.goto("/")
        write(page, WRITTEN[7])
        page.get_by_label("The server's key").fill("secret")
        page.keyboard.press("Enter")
        expect_read(page, 7)
        expect(page.locator("#key-form")).to_be_hidden()
        page.reload()
        write(page, WRITTEN[3])
        expect_read(page, 3)
        page.close()


def test_a_refusal_that_comes_after_the_key_was_given_asks_for_it_no_more(browser):
    with running(api_key="secret") as server:
        page = browser.new_page(base_url=server.url)
        page.goto("/")
        write(page, WRITTEN[7])
        key, late = page.get_by_label("The server's key"), []
        expect(key).to_be_visible()
        page.route(
            "**/*",
            lambda route: (
                late.append(route)
                if route.request.method == "POST" and "authorization" not in route.request.headers
                else route.continue_()
            ),
        )
        write(page, WRITTEN[7])
        for _ in range(500):
            if not late:
                page.wait_for_timeout(20)
        key.fill("secret")
        page.keyboard.press("Enter")
        with page.expect_response(lambda response: response.status == 401):
            late[0].continue_()
        expect_read(page, 7)
        expect(page.locator("#key-form")).to_be_hidden()
        page.close()


@pytest.mark.parametrize(("width", "height"), [(768, 1024), (844, 390), (390, 844), (1200, 900)])
def test_the_sheet_and_the_answer_are_seen_together(opened, width, height):
    page = opened(viewport={"width": width, "height": height})
    sheet = page.locator(".sheet").bounding_box()
    assert sheet
    assert sheet["y"] + sheet["height"] <= height
    answer = page.locator(".answer").bounding_box()
    assert answer
    assert answer["y"] + 80 < height


# --- pictures ---


def test_a_picture_of_one_digit_is_read_like_a_drawing(page, clear_digits):
    page.locator("#files").set_input_files([upload("four.png", photo(clear_digits[4]))])
    expect_read(page, 4)
    assert pixels(page, "#sheet").any()
    write(page, WRITTEN[7])
    expect_read(page, 7)


def test_a_picture_of_several_digits_shows_their_boxes_and_text(page, server, clear_digits):
    content = photo(*(clear_digits[digit] for digit in (4, 1, 5)))
    answer = server.client.post("/read", content=content, headers={"content-type": "image/png"}).json()
    page.locator("#files").set_input_files([upload("pi.png", content)])
    expect(page.locator(".card .text")).to_have_text(answer["text"])
    expect(page.get_by_role("status")).to_contain_text(answer["text"])
    shown = pixels(page, ".card canvas").astype(int)
    zoom = shown.shape[1] / (3 * 144)
    assert len(answer["lines"][0]) == 3
    for digit in answer["lines"][0]:
        left, top, width, height = (zoom * length for length in digit["box"])
        for x, y in [(left + width / 2, top), (left, top + height / 2), (left + width, top + height / 2)]:
            near = shown[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
            assert (np.ptp(near[..., :3], axis=-1) > 60).any(), "no coloured line at the box's edge"


def file_event(page: Page, event: str, field: str, files: dict[str, bytes]) -> None:
    """What the browser does when someone pastes or drops files."""
    script = """([event, field, files]) => {
        const transfer = new DataTransfer();
        for (const [name, content] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt());
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
        }
        const kind = event === "paste" ? ClipboardEvent : DragEvent;
        document.body.dispatchEvent(new kind(event, { bubbles: true, cancelable: true, [field]: transfer }));
    }"""
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    page.evaluate(script, [event, field, encoded])


def test_a_pasted_picture_is_read(page, clear_digits):
    file_event(page, "paste", "clipboardData", {"image.png": photo(clear_digits[2])})
    expect_read(page, 2)


def test_dropped_pictures_get_a_card_each_and_a_bad_one_says_why(page, complaints, clear_digits):
    file_event(
        page,
        "drop",
        "dataTransfer",
        {"six.png": photo(clear_digits[6]), "bad.png": b"no picture", "nine.png": photo(clear_digits[9])},
    )
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    expect(cards.nth(0).locator(".text")).to_have_text("6")
    expect(cards.nth(1).locator(".note")).to_contain_text("bad.png: not a picture")
    expect(cards.nth(2).locator(".text")).to_have_text("9")
    assert len(complaints) == 1
    assert "Failed to load resource" in complaints.pop()  # the browser notes the refusal
    cards.nth(2).get_by_role("button", name="Look closer").click()
    expect_read(page, 9)


# --- what the network saw ---


def test_the_page_shows_what_the_network_saw_and_where_it_looked(page, server):
    body = sent(page, WRITTEN[5])
    answer = server.client.post("/explain?method=gradcam", content=body, headers={"content-type": "image/png"}).json()
    assert (pixels(page, "#seen")[..., 0] == np.array(answer["input"])).all()
    assert not pixels(page, "#seen-heat").any()
    page.get_by_label("Show where it looked").check()
    heat = np.array(answer["heatmap"])
    wait_until(page, lambda: np.abs(pixels(page, "#seen-heat")[..., 3] - 215 * heat).max() <= 1)

    # Over the sheet the heat lies where it lies over the pixels, the ink's box taken as one.
    def share(picture: np.ndarray, ink: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(ink)
        y, x = np.nonzero(picture > 0.8 * picture.max())
        return np.array([(x.mean() - columns.min()) / np.ptp(columns), (y.mean() - rows.min()) / np.ptp(rows)])

    sheet = cv2.resize(pixels(page, "#sheet")[..., 3], (280, 280), interpolation=cv2.INTER_AREA)
    over_the_sheet = share(pixels(page, "#sheet-heat")[..., 3], sheet > 100)
    assert over_the_sheet == pytest.approx(share(heat, np.array(answer["input"]) > 60), abs=0.1)
    page.get_by_label("Show where it looked").uncheck()
    assert not pixels(page, "#sheet-heat").any()


def test_feature_maps_come_on_demand(page):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    write(page, WRITTEN[3])
    expect_read(page, 3)
    assert not [url for url in asked if "features" in url]
    page.get_by_text("What its layers made of it").click()
    expect(page.locator("#layer-name")).to_contain_text("1 of")
    first = pixels(page, "#maps")
    assert np.ptp(first[..., 0]) > 100
    page.get_by_role("slider", name="Layer").press("ArrowRight")
    expect(page.locator("#layer-name")).to_contain_text("2 of")
    second = pixels(page, "#maps")
    assert first.shape != second.shape or (first != second).any()


# --- corrections ---


def test_a_correction_saves_picture_and_label_for_training(page, server, corrections):
    assert server.client.get("/model").json()["feedback"] is True
    body = sent(page, WRITTEN[7])
    page.get_by_text("That is wrong").click()
    page.get_by_role("group", name="It is a").get_by_role("button", name="1").click()
    expect(page.get_by_role("status")).to_have_text("Saved as a 1. Thank you.")
    [saved] = corrections.rglob("*.png")
    assert saved.parent == corrections / "1"
    assert (decoded(saved.read_bytes()) == decoded(body)).all()


def test_without_the_setting_nothing_offers_to_correct(browser):
    with running() as server:
        page = browser.new_page(base_url=server.url)
        page.goto("/")
        write(page, WRITTEN[7])
        expect_read(page, 7)
        expect(page.locator("#correction")).to_be_hidden()
        page.close()


def test_a_server_that_is_gone_is_reported_and_the_next_answer_takes_the_report_away(page, complaints):
    page.route("**/predict*", lambda route: route.abort())
    write(page, WRITTEN[7])
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    page.unroute("**/predict*")
    write(page, [[(120, 150), (180, 150)]])
    expect(page.get_by_role("alert")).to_be_empty()
    assert all("net::ERR_FAILED" in complaint for complaint in complaints)
    complaints.clear()


def test_a_file_that_is_no_picture_is_told_in_a_users_words(page):
    page.locator("#files").set_input_files([{"name": "a.csv", "mimeType": "text/csv", "buffer": b"1,2"}])
    expect(page.locator(".card .note")).to_have_text("a.csv: this is no picture.")


# --- for everybody ---


def everything(page: Page, picture: bytes) -> None:
    """Fills and opens all that the page has."""
    write(page, WRITTEN[7])
    page.get_by_label("Show where it looked").check()
    page.get_by_text("What its layers made of it").click()
    page.get_by_text("That is wrong").click()
    page.locator("#files").set_input_files([upload("a-picture-with-a-very-long-name" * 4, picture)] * 2)
    expect(page.locator(".card .text")).to_have_count(2)
    expect(page.locator("#layer-name")).not_to_be_empty()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(opened, clear_digits, colours, width):
    page = opened(color_scheme=colours, viewport={"width": width, "height": 740})
    for fill in (lambda: None, lambda: everything(page, photo(clear_digits[8], clear_digits[0]))):
        fill()
        settled(page)
        found = Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_documentation_is_for_everybody_too(opened, colours):
    page = opened("/docs.html", color_scheme=colours, viewport={"width": 320, "height": 740})
    expect(page.get_by_role("heading", name="/predict/batch")).to_be_visible()
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_ink_stands_out_from_the_sheet(opened, colours):
    page = opened(color_scheme=colours)
    write(page, WRITTEN[7])
    ink = pixels(page, "#sheet")[215, 420, :3]
    paper = page.locator(".write").evaluate("field => getComputedStyle(field).backgroundColor.match(/\\d+/g)")
    assert abs(float(ink.mean()) - np.mean([int(level) for level in paper])) > 150


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page, clear_digits):
    choosers: list[FileChooser] = []
    # From the start: a busy browser that is told just before the key still opens a window of its own.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    write(page, WRITTEN[7])
    expect_read(page, 7)
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        script = """[document.activeElement, ...document.activeElement.labels ?? []].map(
            element => getComputedStyle(element).outlineStyle)"""
        assert set(page.evaluate(script)) != {"none"}, f"{reached[-1]} does not show that it has the focus"
    layers = "What its layers made of it"
    assert reached == ["undo", "redo", "clear", "try", "files", "That is wrong", "why", layers, "API"]
    page.locator("#files").focus()
    page.keyboard.press("Enter")
    wait_until(page, lambda: bool(choosers))
    choosers[0].set_files([upload("three.png", photo(clear_digits[3]))])
    expect_read(page, 3)


def test_who_wants_little_motion_gets_none(opened):
    page = opened(reduced_motion="reduce")
    moving = page.evaluate("""document.getAnimations().length + [...document.querySelectorAll("*")].filter(
        element => ["", "::before", "::after"].some(
            part => parseFloat(getComputedStyle(element, part).transitionDuration))).length""")
    assert moving == 0
