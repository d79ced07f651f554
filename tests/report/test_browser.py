"""The page in a real browser, where one is at hand, as wide as a screen and as a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from report_grids import TWO, write_grid

from medtl.report.build import write_report

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# what a reader could not see: beyond the window's edge, or beyond that of its own box unless this one scrolls
LOOK = """
<script>
addEventListener("load", () => {
  const width = document.documentElement.clientWidth, cut = [], unhinted = [];
  for (const each of document.body.querySelectorAll("*")) {
    if (each.closest("svg, script, pre") && !each.matches("svg, pre")) continue;
    const box = each.getBoundingClientRect(), inside = each.parentElement.closest(".scroll");
    const seen = box.width > 0 && getComputedStyle(each).display !== "none";
    if (seen && !inside && (box.right > width + 1 || box.left < -1)) cut.push(each.tagName + "." + each.className);
    const block = !each.matches("svg, .scroll, pre, .track, .track *") && getComputedStyle(each).display !== "inline";
    if (seen && block && each.scrollWidth > each.clientWidth + 1 && each.children.length == 0)
      cut.push("within " + each.tagName + "." + each.className + ": " + each.textContent.slice(0, 30));
    if (each.matches(".scroll") && each.scrollWidth > each.clientWidth + 1) {
      const hint = each.previousElementSibling;
      if (!hint.matches(".hint") || hint.getBoundingClientRect().height == 0)
        unhinted.push(each.getAttribute("aria-label"));
    }
  }
  const found = {width: innerWidth, cut, unhinted, wide: document.documentElement.scrollWidth - width,
    asked: performance.getEntriesByType("resource").map(entry => entry.name),
    forest: document.querySelector(".forest").getBoundingClientRect().width};
  parent.postMessage(encodeURIComponent(JSON.stringify(found)), "*");
});
</script>
"""
# a frame may be narrower than the narrowest window
FRAME = """<!DOCTYPE html><meta name="found">
<script>addEventListener("message", said => document.querySelector("meta").setAttribute("content", said.data));</script>
<iframe src="looked.html" width="{width}" height="900" style="border: 0"></iframe>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser at hand ({', '.join(BROWSERS)})")
    return found


@pytest.fixture(scope="module", params=["few starts", "forty starts"])
def page(request: pytest.FixtureRequest, module_path: Path) -> Path:
    folder = module_path / request.param.replace(" ", "_")
    many = ("random", *(f"start_with_a_long_name_{n:02d}" for n in range(39)))
    inits = ("random", "imagenet", "cpmid") if request.param == "few starts" else many
    write_grid(folder, TWO, ("resnet18",), inits, (0, 1), {"val": 30, "test": 40})
    return write_report(folder, facts=True)[0]


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_cut_off_fetched_or_complained_of(browser: str, page: Path, width: int, tmp_path: Path) -> None:
    looked = tmp_path / "looked.html"
    looked.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
    place = (f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,1000", "--virtual-time-budget=5000")
    done = subprocess.run(
        [browser, *options, *place, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
    )
    content = re.search(r'name="found" content="([^"]+)"', done.stdout)
    assert content, done.stderr[-2000:]
    found = json.loads(unquote(content[1]))
    assert found["width"] == width
    assert found["asked"] == []
    assert "CONSOLE" not in done.stderr
    assert found["cut"] == []
    assert found["wide"] <= 0
    assert width == 1200 or found["unhinted"] == []
    assert found["forest"] > 0.85 * width
