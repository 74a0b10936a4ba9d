"""The page of `inspect --html`: what it says, what it escapes, and that a browser takes it."""

import html.parser
import re
import shutil
import subprocess
import sys

import pytest
from estimators import LABELS, X
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.cli import main
from shardpickle.reports.html import Box, squarify

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Outside(html.parser.HTMLParser):
    """Collects what a page would fetch, run, or lead to."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.leads, self.ids, self.text = [], [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append((tag, named))
        self.leads += [value for key, value in attributes if key in ("href", "src", "action")]
        if "id" in named:
            self.ids.add(named["id"])

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "model"
    model = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0))
    shardpickle.dump(model.fit(X, LABELS), path, shard_size="20kB", metadata={"score": 0.5})
    return model, path


def test_rectangles_fill_the_box_in_proportion():
    areas = [50, 20, 10, 5, 5, 4, 3, 2, 0.5, 0.5]
    found = squarify(areas, Box(10, 20, 60, 30))
    assert [box.width * box.height for box in found] == pytest.approx(
        [area / 100 * 60 * 30 for area in areas]
    )
    for box in found:
        assert box.x >= 10 - 1e-9
        assert box.x + box.width <= 70 + 1e-9
        assert box.y >= 20 - 1e-9
        assert box.y + box.height <= 50 + 1e-9
    for number, one in enumerate(found):
        for other in found[:number]:
            apart = one.x >= other.x + other.width - 1e-9 or other.x >= one.x + one.width - 1e-9
            above = one.y >= other.y + other.height - 1e-9 or other.y >= one.y + one.height - 1e-9
            assert apart or above


def test_kinds_and_trees_agree_with_the_model(forest):
    model, path = forest
    info = shardpickle.inspect(path)
    trees = [each.tree_ for each in model[-1].estimators_]
    assert info.trees.count == 30
    depths = {low: count for low, high, count in info.trees.depths if count}
    assert all(low == high for low, high, _ in info.trees.depths)
    assert depths == {n: sum(t.max_depth == n for t in trees) for n in {t.max_depth for t in trees}}
    leaves = [t.n_leaves for t in trees]
    for low, high, count in info.trees.leaves:
        assert count == sum(low <= each <= high for each in leaves)
    assert sum(kind.stored for kind in info.kinds) == sum(c.stored for c in info.columns)
    assert info.kinds[0].name == "DecisionTreeClassifier"


def test_the_page_is_self_contained_and_says_what_inspect_says(forest, tmp_path, capsys):
    _, path = forest
    assert main(["inspect", str(path), "--html", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    info = shardpickle.inspect(path)
    found = Outside(page)
    assert not [tag for tag, _ in found.tags if tag in ("script", "iframe", "img", "object")]
    assert {lead[:1] for lead in found.leads if lead != "data:,"} == {"#"}
    assert {lead[1:] for lead in found.leads if lead != "data:,"} <= found.ids
    assert not re.search(r"https?://", page)
    text = " ".join(found.text)
    for said in (info.model, info.digest, "30 × DecisionTreeClassifier", "score", "vetted"):
        assert said in text
    cells = [named for tag, named in found.tags if named.get("class", "").startswith("cell")]
    assert len(cells) > 5
    assert all(named["aria-label"] for named in cells)  # links: Tab and Enter reach them


def test_names_of_a_hostile_model_stay_names(tmp_path):
    bad = "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[2J"
    shardpickle.dump({bad: LinearRegression()}, tmp_path / "model", metadata={bad: bad})
    page = shardpickle.inspect(tmp_path / "model").to_html()
    found = Outside(page)
    assert not [tag for tag, _ in found.tags if tag in ("script", "img")]
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "alert(1)" in " ".join(found.text)


def test_what_pages_need_is_said_where_it_is_missing(forest, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    _, path = forest
    with pytest.raises(ImportError, match=r"pip install 'shardpickle\[html\]'"):
        shardpickle.inspect(path).to_html()
    assert main(["inspect", str(path), "--html", str(tmp_path / "page.html")]) != 0
    assert "pip install 'shardpickle[html]'" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.long
def test_ten_thousand_trees_are_one_small_page(tmp_path):
    trees = ExtraTreesRegressor(10_000, max_depth=2, random_state=0).fit(X[:20], X[:20, 0])
    shardpickle.dump(trees, tmp_path / "model", shard_size="200kB")
    info = shardpickle.inspect(tmp_path / "model")
    assert info.trees.count == 10_000
    assert len(info.to_html()) < 200_000


def test_trees_of_histogram_boosting_have_leaves_and_no_depth(tmp_path):
    model = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(X, X[:, 0])
    shardpickle.dump(model, tmp_path / "model")
    info = shardpickle.inspect(tmp_path / "model")
    assert (info.trees.count, info.trees.depths) == (5, ())
    leaves = [predictor.get_n_leaf_nodes() for (predictor,) in model._predictors]
    for low, high, count in info.trees.leaves:
        assert count == sum(low <= each <= high for each in leaves)
    assert "without their depth" in info.to_html()


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium; CI installs Debian's")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_without_a_complaint(forest, tmp_path, width):
    _, path = forest
    page = tmp_path / "report.html"
    page.write_text(shardpickle.inspect(path).to_html())
    common = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200"),
    ]
    shot = tmp_path / "shot.png"
    for option in (f"--screenshot={shot}", "--dump-dom"):
        done = subprocess.run(
            [*common, option, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "CONSOLE" not in done.stderr, done.stderr
    assert shot.stat().st_size > 10_000
    assert "30 × DecisionTreeClassifier" in done.stdout
    # It would be told: a page with a script of its own is refused by the page's policy.
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</main>", "<script>void 0</script></main>"))
    done = subprocess.run(
        [*common, "--dump-dom", broken.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" in done.stderr
