#!/usr/bin/env python3
"""Tests the web page of `mvar serve` in a headless Chromium, as a person would use it.

    apt-get install chromium chromium-driver
    pip install selenium axe-selenium-python
    Scripts/test-page.py .build/debug/mvar [--screenshots FOLDER]

Generates with the small recorded model, watches previews arrive, downloads, edits with the brush, does it
all again with the keyboard alone, checks accessibility with axe, light and dark, wide and narrow.
"""

import argparse
import base64
import glob
import os
import struct
import sys
import tempfile
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Benchmarks", "server"))
from served import GOLDEN, Server, add_options

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

try:
    from axe_selenium_python import Axe
except ImportError:
    Axe = None


def expect(condition, what):
    if not condition:
        raise SystemExit("FAILED: " + what)
    print("  ok: " + what)


class Page:
    def __init__(self, options, url, folder):
        self.options, self.url, self.folder = options, url, folder
        flags = webdriver.ChromeOptions()
        flags.binary_location = options.chromium
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--disable-dev-shm-usage"):
            flags.add_argument(flag)
        flags.add_experimental_option("prefs", {"download.default_directory": folder})
        flags.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(options.driver)
        self.driver = webdriver.Chrome(options=flags, service=service)
        self.size(1280, 900)

    def size(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def scheme(self, name):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": name},
                         {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def open(self):
        self.driver.get(self.url)
        self.until("the model is shown", lambda: self.one("#model").is_displayed())
        self.side = self.js("return Number(state.model.size.split('x')[0])")

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, what, condition, seconds=90):
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                alert = self.one("#alert").get_attribute("textContent")
                raise SystemExit("FAILED: timed out: %s; the page says %r" % (what, alert))
            time.sleep(0.02)

    def shot(self, name, whole=False):
        if not self.options.screenshots:
            return
        os.makedirs(self.options.screenshots, exist_ok=True)
        picture = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": whole})["data"]
        with open(os.path.join(self.options.screenshots, name + ".png"), "wb") as file:
            file.write(base64.b64decode(picture))

    def choose(self, text):
        field = self.one("#class")
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)
        self.until("a suggestion", lambda: self.all("#class-list [role=option]"))
        field.send_keys(Keys.ENTER)

    def finished(self, count):
        return self.until(
            "%d pictures are finished" % count,
            lambda: len(self.all(".batch:first-child .card.done")) == count and self.all(".batch:first-child .card.done"))

    def newest(self):
        """The pixels of the newest batch's first picture, [H, W, 4]."""
        return self.driver.execute_async_script("""
            const done = arguments[0];
            createImageBitmap(batches[0].cards[0].blob).then((bitmap) => {
              const canvas = document.createElement('canvas');
              [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
              const pen = canvas.getContext('2d');
              pen.drawImage(bitmap, 0, 0);
              done([...pen.getImageData(0, 0, canvas.width, canvas.height).data]);
            });""")

    def accessible(self, where):
        names = self.js("""
            return [...document.querySelectorAll('button, a, input, canvas[tabindex]')]
              .filter((e) => e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
              .map((e) => e.outerHTML);""")
        expect(names == [], "%s: everything has a name %s" % (where, names or ""))
        if not Axe:
            print("  (axe-selenium-python is missing: fewer accessibility checks)")
            return
        axe = Axe(self.driver)
        axe.inject()
        # Its axe is older than ARIA 1.2, in which an input may be a combobox, and takes an open dialog for
        # a part of the page that belongs to no landmark.
        rules = '{"rules": {"aria-allowed-role": {"enabled": false}, "region": {"enabled": false}}}'
        violations = axe.run(options=rules)["violations"]
        found = ["%s: %s" % (v["id"], v["nodes"][0]["html"][:160]) for v in violations]
        expect(not violations, "%s: axe finds nothing %s" % (where, found or ""))

    def fits(self, where):
        over = self.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        expect(over <= 0, "%s: nothing is wider than the screen" % where)


def texts(png):
    """The tEXt chunks of a PNG."""
    expect(png[:8] == b"\x89PNG\r\n\x1a\n", "the download is a PNG")
    found, place = {}, 8
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place:place + 8])
        data = png[place + 8:place + 8 + length]
        expect_quietly(zlib.crc32(kind + data) == struct.unpack(">I", png[place + 8 + length:place + 12 + length])[0])
        if kind == b"tEXt":
            key, value = data.split(b"\0", 1)
            found[key.decode()] = value.decode("latin-1")
        place += 12 + length
    return found


def expect_quietly(condition):
    if not condition:
        raise SystemExit("FAILED: a chunk of the PNG is damaged")


def generate(page):
    print("Generating")
    page.open()
    page.shot("desktop-empty-light")
    page.accessible("the empty page")
    page.one("#generate").click()
    expect("Choose a class" in page.one("#alert").text, "a missing class is told")
    page.choose("2")
    expect(page.one("#class-hint").text.startswith("Class 2"), "a class is chosen by search")
    page.one("#count label:nth-child(2)").click()
    page.one("#generate").click()
    scales, shown = set(), False
    while len(page.all(".card.done")) < 2:
        for value in page.js("return [...document.querySelectorAll('.card')].map((c) => c.dataset.scale)"):
            if value:
                scales.add(int(value))
        if len(scales) > 1 and not shown:
            page.shot("desktop-drawing-light")
            shown = True
        time.sleep(0.01)
    expect(len(scales) >= 2, "previews arrive one after the other: scales %s" % sorted(scales))
    cards = page.finished(2)
    sizes = page.js("return [...document.querySelectorAll('.card img')].map((i) => i.naturalWidth)")
    expect(sizes == [page.side] * 2, "the pictures have their size")
    expect("finished" in page.one("#status").get_attribute("textContent"), "a screen reader is told")
    page.shot("desktop-done-light")
    return cards


def download(page):
    print("Downloading")
    link = page.one(".card.done .foot a")
    name = link.get_attribute("download")
    link.click()
    path = os.path.join(page.folder, name)
    page.until("the file is there", lambda: os.path.exists(path) and not glob.glob(page.folder + "/*.crdownload"))
    with open(path, "rb") as file:
        found = texts(file.read())
    seed = page.one(".card.done .foot span").text.split()[1]
    expect(found.get("Seed") == seed and found.get("Class") == "2", "it carries its settings: %s" % found)


def viewing(page):
    print("Looking at one picture")
    page.one(".card.done .show").click()
    page.until("the picture is large", lambda: page.one("#viewer").is_displayed())
    page.shot("desktop-viewer-light")
    page.accessible("one picture")
    seed = page.one(".card.done .foot span").text.split()[1]
    page.one("#viewer-reuse").click()
    expect(page.one("#seed").get_attribute("value") == seed, "its settings are taken over")
    expect(page.one("#seed-lock").get_attribute("aria-pressed") == "true", "the seed is locked")
    before = page.newest()
    page.one("#count label:nth-child(1)").click()
    page.one("#generate").click()
    page.until("a second batch", lambda: len(page.all(".batch")) == 2)
    page.finished(1)
    after = page.newest()
    # Drawn with others and alone: the tokens are equal, the last digits of sums need not be.
    expect(len(before) == len(after) and max(abs(a - b) for a, b in zip(before, after)) <= 1,
           "a locked seed gives the same picture")


def stopping(page):
    print("Stopping")
    page.one("#count label:nth-child(4)").click()
    page.one("#generate").click()
    page.until("the button to stop", lambda: page.one("#stop").is_displayed())
    page.one("#stop").click()
    page.until("the form is free again", lambda: page.one("#generate").is_enabled())
    expect(page.one(".batch:first-child .card.failed .wait").get_attribute("textContent") == "Stopped", "what was stopped says so")


def keyboard(page):
    print("With the keyboard alone")
    page.open()
    order = []
    for _ in range(14):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        order.append(page.js("const e = document.activeElement; return e.id || e.name || e.className || e.tagName"))
    wanted = ["class", "surprise", "count", "seed", "seed-lock", "generate"]
    places = [order.index(name) if name in order else -1 for name in wanted]
    expect(-1 not in places and places == sorted(places), "the focus goes down the form: %s" % order)
    field = page.one("#class")
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE)
    field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    active = page.js("return document.querySelector('#class').getAttribute('aria-activedescendant')")
    expect(active == "class-1" or active == "class-0", "arrows move through the list: %s" % active)
    field.send_keys(Keys.ENTER)
    field.send_keys(Keys.CONTROL, Keys.ENTER)
    page.finished(1)
    page.one(".card.done .show").send_keys(Keys.ENTER)
    page.until("the picture is large", lambda: page.one("#viewer").is_displayed())
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until("it is closed", lambda: not page.one("#viewer").is_displayed())
    expect(page.js("return document.activeElement.className") == "show", "the focus comes back")


def editing(page):
    print("Editing")
    page.size(1280, 1100)
    if not page.one("#modes").is_displayed():
        raise SystemExit("FAILED: this server does not edit")
    page.one(".card.done .foot button").click()
    page.until("the picture is in the editor", lambda: page.one("#painting").is_displayed())
    before = page.js("""
        const canvas = document.querySelector('#base');
        return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]""")
    page.one("#generate").click()
    expect("Paint over" in page.one("#alert").text, "an empty mask is told")
    canvas = page.one("#paint")
    box = canvas.rect
    move = ActionChains(page.driver)
    # Offsets are from the middle: a stroke in the lower right quarter.
    move.move_to_element_with_offset(canvas, int(box["width"] / 6), int(box["height"] / 4))
    move.click_and_hold()
    move.move_by_offset(int(box["width"] / 6), 0).move_by_offset(0, int(box["height"] / 8))
    move.release().perform()
    page.shot("desktop-editing-light")
    page.accessible("the editor")
    batches = len(page.all(".batch"))
    page.one("#generate").click()
    page.until("a new batch", lambda: len(page.all(".batch")) == batches + 1)
    page.finished(1)
    after = page.newest()
    side = page.side
    expect(len(before) == len(after) == side * side * 4, "the size stays")

    def change(left, top, right, bottom):
        return max(abs(before[4 * (y * side + x) + c] - after[4 * (y * side + x) + c])
                   for y in range(top, bottom) for x in range(left, right) for c in range(3))
    expect(change(0, 0, side, side // 3) == 0, "what was not painted stays to the bit")
    expect(change(side * 2 // 3, side * 3 // 4, side * 3 // 4, side * 4 // 5) > 0, "what was painted is new")
    page.shot("desktop-edited-light")
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE)
    expect(page.one("#mask-undo").is_enabled(), "the keyboard paints too")
    page.one("#mask-clear").click()
    expect(not page.one("#mask-undo").is_enabled(), "the mask is cleared")


def looks(page):
    print("Dark, light, wide, narrow")
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        for name, width, height in (("desktop", 1280, 900), ("phone", 390, 844)):
            page.size(width, height)
            page.open()
            page.fits("%s, %s, empty" % (name, scheme))
            page.shot("%s-empty-%s" % (name, scheme))
            page.choose("1")
            page.one("#count label:nth-child(3)").click()
            page.js("document.querySelector('#more').open = true")
            page.one("#generate").click()
            page.finished(4)
            time.sleep(0.3)
            page.fits("%s, %s" % (name, scheme))
            page.accessible("%s, %s" % (name, scheme))
            page.shot("%s-%s" % (name, scheme))
            page.js("window.scrollTo(0, 0)")
            page.shot("%s-%s-top" % (name, scheme))
            if page.one("#modes").is_displayed():
                page.one(".card.done .foot button").click()
                page.until("the editor", lambda: page.one("#painting").is_displayed())
                top = page.js("return document.querySelector('#paint').getBoundingClientRect().top")
                expect(-5 <= top < height - 100, "%s, %s: the editor is in view" % (name, scheme))
                page.one("#mask-all").click()
                page.shot("%s-%s-editor" % (name, scheme))
                page.fits("%s, %s, editing" % (name, scheme))
                page.accessible("%s, %s, editing" % (name, scheme))
                page.shot("%s-%s-editing" % (name, scheme))


def token(options, folder):
    print("With a token")
    with Server(options, "--token", "correct horse") as server:
        page = Page(options, server.url, folder)
        try:
            page.driver.get(server.url)
            page.until("the token is asked for", lambda: page.one("#token-dialog").is_displayed())
            page.shot("desktop-token-light")
            page.one("#token").send_keys("wrong" + Keys.ENTER)
            page.until("it is asked for again", lambda: "wrong" in page.one("#token-alert").text)
            page.one("#token").send_keys("correct horse" + Keys.ENTER)
            page.until("the model is shown", lambda: page.one("#model").is_displayed())
            expect(True, "the token opens the page")
        finally:
            page.driver.quit()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.set_defaults(model=os.path.join(GOLDEN, "mvar-64px", "mvar.pth"))
    parser.add_argument("program", nargs="?", help="mvar; as --mvar")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--driver", default="/usr/bin/chromedriver")
    parser.add_argument("--screenshots", help="a folder for pictures of the page")
    parser.add_argument("--only", nargs="+", help="parts, of " + ", ".join(p.__name__ for p in PARTS))
    options = parser.parse_args()
    options.mvar = options.program or options.mvar
    with tempfile.TemporaryDirectory() as folder:
        with Server(options, "--batch", 4) as server:
            page = Page(options, server.url, folder)
            try:
                page.scheme("light")
                for part in PARTS:
                    if not options.only or part.__name__ in options.only:
                        part(page)
                problems = [entry["message"] for entry in page.driver.get_log("browser")
                            if entry["level"] in ("SEVERE", "WARNING")]
                expect(problems == [], "the browser complains of nothing %s" % (problems or ""))
            finally:
                page.driver.quit()
        token(options, folder)
    print("all as it should be")


PARTS = [generate, download, viewing, stopping, keyboard, editing, looks]

if __name__ == "__main__":
    main()
