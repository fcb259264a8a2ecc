"""The page of a report in a real browser: what is seen, what is done, and what must not happen."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.outputs import write_output
from jobs.report.full import Full
from jobs.report.write import write_report
from tests.browser import opened, until, violations
from tests.pictures import photograph

HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script>",
    '"><svg onload=document.title="hacked">',
    "{{ 7 * 7 }}",
    "javascript:document.title='hacked'",
]
ROWS = 14


def hostile_id(i: int) -> str:
    return HOSTILE[i] if i < len(HOSTILE) else f"scene-{i}"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The page of a run with hostile ids, values and names of columns, and failed rows."""
    folder = tmp_path_factory.mktemp("report")
    large = photograph(1400, 100, "coffee")  # too large for a page to hold exactly
    run = write_output(
        folder,
        ROWS,
        shard_rows=5,
        pictures=[photograph(90, 60), photograph(60, 60, "chelsea"), large],
        id_of=hostile_id,
        own=lambda i: {"<b>site</b>": HOSTILE[i % 2], "__proto__": f"p{i % 3}", "weight": 1.5 * i},
        failed_every=7,
        uncertainty=True,
        save_steps=3,
    )
    write_report([run], str(folder / "page.html"), limit=ROWS)
    return folder / "page.html"


@pytest.fixture
def page(browser, page_file):
    with opened(browser, page_file.as_uri()) as page:
        yield page


def ids(page) -> list[str]:
    return page.locator("#cards h3").all_text_contents()


def test_every_picture_of_every_row_is_seen(page):
    assert sorted(ids(page)) == sorted(map(hostile_id, range(ROWS)))
    images = page.locator("#cards img")
    assert images.count() == 3 * (ROWS - 2)  # measured, restored, reference; two rows failed
    widths = images.evaluate_all("all => Promise.all(all.map(i => i.decode().then(() => "
                                 "i.naturalWidth)))")  # fmt: skip
    assert min(widths) > 0
    assert all(images.evaluate_all("all => all.map(i => i.alt)"))
    assert page.locator("#cards .error").all_text_contents() == ["image: it is not there"] * 2


def test_what_is_hostile_stays_text(page):
    page.locator("#cards h3 button", has_text="<img src=x").click()
    assert page.locator("#viewer-title").inner_text() == HOSTILE[0]
    facts = page.locator("#viewer-facts").inner_text()
    assert "<b>site</b>" in facts and "__proto__" in facts
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Add a filter").click()
    page.locator("#filters select").first.select_option("<b>site</b>")
    page.locator("#filters select").nth(1).select_option("=" + HOSTILE[1])
    assert len(ids(page)) == ROWS // 2
    assert "hacked" not in page.title()
    assert page.locator("img[src=x], svg, b b").count() == 0
    assert page.evaluate("({}).polluted") is None


def test_a_script_that_is_not_the_pages_own_does_not_run(page):
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = true";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<a onclick='window.hacked = true'>x</a>");
        document.body.lastChild.click();
    }""")
    assert page.evaluate("window.hacked") is None
    assert page.said and all("Content Security Policy" in text for text in page.said)
    page.said.clear()


def test_sorting_filtering_and_searching(page):
    def scores() -> list[float]:
        chips = page.locator("#cards li.card .chips").all_text_contents()
        found = (re.search(r"PSNR ([\d.]+) dB", text) for text in chips)
        return [float(match[1]) for match in found if match]

    best = scores()
    assert best == sorted(best, reverse=True) and len(best) == ROWS - 2
    page.locator("#order").select_option("worst")
    assert scores() == best[::-1]
    page.locator("#order").select_option("median")
    assert sorted(scores()) == best[::-1]
    assert abs(scores()[0] - np.median(best)) <= min(abs(s - np.median(best)) for s in best) + 1

    page.get_by_role("button", name="Add a filter").click()
    page.get_by_label("at least").fill(f"{best[4] - 0.006}")
    page.get_by_label("at most").fill(f"{best[2] + 0.006}")
    assert sorted(scores(), reverse=True) == best[2:5]
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Add a filter").click()
    page.locator("#filters select").first.select_option("status")
    page.locator("#filters select").nth(1).select_option("=error")
    assert len(ids(page)) == 2
    page.get_by_role("button", name="Remove").click()

    page.keyboard.press("/")
    page.keyboard.type("scene-1")
    assert sorted(ids(page)) == ["scene-10", "scene-11", "scene-12", "scene-13"]


def test_the_wipe_shows_the_measurement_left_of_it_and_the_result_right_of_it(page):
    page.locator("#mode").select_option("wipe")
    card = page.locator("#cards .card", has_text="scene-10")
    slider = card.get_by_role("slider")
    view = card.locator(".view")
    restored, half, measured = b"", b"", b""
    slider.fill("0")
    restored = view.screenshot()
    slider.fill("50")
    half = view.screenshot()
    slider.press("End")
    assert slider.input_value() == "100"
    measured = view.screenshot()
    assert len({restored, half, measured}) == 3


def test_the_viewer_is_used_by_keys_alone(page):
    page.locator("#cards h3 button", has_text="scene-10").focus()
    page.keyboard.press("Enter")
    stage = page.locator("#viewer-stage")
    assert stage.locator("img").count() == 4  # with the map of uncertainty
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    transforms = stage.locator("img").evaluate_all(
        "all => all.map(i => getComputedStyle(i).transform + i.style.transformOrigin)"
    )
    assert len(set(transforms)) == 1 and transforms[0].startswith("matrix(2.25")
    assert page.evaluate("viewer.x") > 0.5 and page.evaluate("viewer.y") > 0.5
    page.keyboard.press("0")
    title = page.locator("#viewer-title").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() != title
    page.keyboard.press("ArrowLeft")
    for key, kind in (("w", "wipe"), ("d", "difference"), ("u", "layer"), ("s", "side")):
        page.keyboard.press(key)
        assert stage.locator(f".stage.{kind}").count() == 1
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def test_a_difference_is_black_where_pictures_are_equal(page):
    page.locator("#cards h3 button", has_text="scene-10").click()
    page.keyboard.press("d")
    seen = {}
    for left in ("restored", "measured"):
        page.get_by_label("Left").select_option(left)
        page.get_by_label("Right").select_option("restored")
        until(page, "[...document.querySelectorAll('#viewer-stage img')]"
                               ".every(i => i.complete)")  # fmt: skip
        shot = page.locator("#viewer-stage .view").screenshot()
        seen[left] = brightness(shot)
    assert seen["restored"] < 1 < 10 < seen["measured"]


def test_the_wheel_zooms_where_the_pointer_is(page):
    page.locator("#cards h3 button", has_text="scene-10").click()
    page.locator("#viewer-stage .view").first.hover(position={"x": 10, "y": 10})
    page.mouse.wheel(0, -300)
    until(page, "viewer.zoom > 1")
    assert page.evaluate("viewer.x") < 0.2
    page.get_by_role("button", name="Pixels").click()
    rendering = "getComputedStyle(document.querySelector('#viewer-stage img')).imageRendering"
    assert page.evaluate(rendering) == "pixelated"
    page.get_by_role("button", name="Fit").click()
    assert page.evaluate("viewer.zoom") == 1


def test_full_pictures_come_from_beside_the_page_when_they_are_wanted(browser, page_file, tmp_path):
    with opened(browser, page_file.as_uri()) as page:
        page.locator("#cards h3 button", has_text="scene-8").click()
        until(page, "[...document.querySelectorAll('#viewer-stage img')]"
                               ".slice(0, 3).every(i => i.naturalWidth === 1400)")  # fmt: skip
    alone = tmp_path / "page.html"
    alone.write_bytes(page_file.read_bytes())
    with opened(browser, alone.as_uri()) as page:
        page.locator("#cards h3 button", has_text="scene-8").click()
        page.get_by_text("not beside this page").wait_for()
        assert page.locator("#viewer-stage img").first.evaluate("i => i.naturalWidth") == 320
        page.said[:] = [text for text in page.said if "ERR_FILE_NOT_FOUND" not in text]


def test_a_page_can_hold_the_full_pictures(browser, page_file):
    file = page_file.with_name("whole.html")
    write_report([str(page_file.parent / "run")], str(file), limit=ROWS, full=Full.embed)
    assert not file.with_name("whole_files").exists()
    with opened(browser, file.as_uri()) as page:
        page.locator("#cards h3 button", has_text="scene-8").click()
        until(page, "document.querySelector('#viewer-stage img').naturalWidth === 1400")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser, page_file, scheme):
    with opened(browser, page_file.as_uri(), color_scheme=scheme, reduced_motion="reduce") as page:
        for tab in page.get_by_role("tab").all():
            tab.click()
            assert violations(page) == [], tab.inner_text()
        page.get_by_role("tab", name="Gallery").click()
        page.locator("#cards h3 button").first.click()
        for key in "swdu":
            page.keyboard.press(key)
            assert violations(page) == [], key


def test_numbers_are_drawn_and_a_point_opens_its_pictures(page):
    page.get_by_role("tab", name="Numbers").click()
    drawn = page.locator("#figures canvas").evaluate_all(
        "all => all.map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some("
        "value => value > 0) && c.getAttribute('aria-label'))"
    )
    assert len(drawn) >= 8 and all(drawn)
    bars = "figures.charts.find(c => c.config.type === 'bar').getDatasetMeta(0).data"
    assert page.evaluate(f"Math.max(...{bars}.map(bar => bar.height * bar.width))") > 100
    cells = page.locator("#tables tr", has_text="Gain over").first.locator("td").all_text_contents()
    assert cells[:2] == ["Gain over the measurement", str(ROWS - 2)]
    page.evaluate(
        "figures.charts.find(c => c.config.type === 'scatter').canvas"
        ".scrollIntoView({block: 'center'})"
    )
    place = page.evaluate("""() => {
        const chart = figures.charts.find((c) => c.config.type === "scatter");
        const [point] = chart.getDatasetMeta(0).data;
        const area = chart.canvas.getBoundingClientRect();
        return [area.x + point.x, area.y + point.y];
    }""")
    page.mouse.click(*place)
    page.locator("#viewer").wait_for()


def test_failures_are_told_with_what_retries_them(page):
    page.get_by_role("tab", name="Failures (2)").click()
    told = page.locator("#panel-failures").inner_text()
    assert "--retry-failed" in told and "image: it is not there" in told


def test_the_process_is_stepped_through_and_played(page):
    page.get_by_label("Search").fill(HOSTILE[3])
    page.locator("#cards h3 button").click()
    page.keyboard.press("p")
    stage = page.locator("#viewer-stage")
    assert stage.locator(".strip figure").count() == 3
    slider = stage.get_by_role("slider", name="Step of the sampler")
    captions = stage.locator(".stage figcaption")
    assert captions.all_text_contents() == ["x0 of the prior", "Restored"]  # the last step
    slider.press("Home")
    assert captions.all_text_contents() == ["x0 of the prior", "x0 with the data"]
    assert stage.get_by_text("1 of 3: timestep 900").is_visible()
    stage.get_by_role("button", name="Play").click()
    stage.get_by_text("3 of 3: timestep 898").wait_for()
    stage.get_by_role("button", name="Play").wait_for()  # it has stopped at the end
    assert violations(page) == []


def test_a_notebook_shows_the_page_in_a_frame(browser, page_file, tmp_path):
    from jobs.report import gallery

    shown = gallery(str(page_file.parent / "run"), limit=6)._repr_html_()
    assert len(shown) < 6e6
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><title>notebook</title>{shown}")
    with opened(browser, notebook.as_uri()) as page:
        frame = page.frame_locator("iframe")
        frame.locator("#cards h3 button").first.click()
        frame.locator("#viewer-stage img").first.wait_for()
        assert page.title() == "notebook"
        page.said[:] = [text for text in page.said if "frame-ancestors" not in text]


def test_a_phone_sees_all_of_it(browser, page_file):
    with opened(browser, page_file.as_uri(), viewport={"width": 360, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#cards h3 button").first.click()
        assert page.locator("#viewer").evaluate("d => d.scrollWidth <= d.clientWidth")


def brightness(png: bytes) -> float:
    import io

    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L")).mean())
