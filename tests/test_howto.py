"""What the pages tell the reader to type can be typed, and what they quote is what visionkit prints."""

import contextlib
import re
import shlex

import cyclopts
import pytest
from support.messages import is_said
from support.pages import PAGES
from support.paths import ROOT

from visionkit.cli import app
from visionkit.weights.cards import CARDS

HOWTO = ROOT / "docs" / "howto"
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```$", re.S | re.M)
INLINE = re.compile(r"`(visionkit [^`]+)`")
ERROR = re.compile(r"^```text\n(.*?)\n```$", re.S | re.M)
PLACEHOLDER = re.compile(r"\b(?:VERB|NAME)\b|\.\.\.")


def commands(page):
    """The commands of a page in blocks, and on how-to pages also those in the text, without what a shell does."""
    text = page.read_text()
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    found = [line for line in lines if line.startswith("visionkit ")]
    if page.parent == HOWTO:
        found += INLINE.findall(text)
    return [re.split(r" #| [|>&]", line)[0] for line in found if not PLACEHOLDER.search(line)]


def parse(command):
    """Raises an error for an option that does not exist; text may leave out what a command needs besides."""
    with contextlib.suppress(cyclopts.MissingArgumentError):
        app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


WITH_COMMANDS = [page for page in [ROOT / "README.md", *PAGES] if commands(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_has_these_options(page):
    for command in commands(page):
        parse(command)


def test_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(cyclopts.UnknownOptionError, match="--epoch"):
        parse("visionkit finetune my_data --epoch 3")


@pytest.mark.parametrize("page", sorted(HOWTO.glob("*.md")), ids=lambda page: page.name)
def test_every_name_of_published_weights_is_a_card(page):
    named = set(re.findall(r"\b[a-z]\w+_(?:coco|imagenet)\b", page.read_text()))
    assert named <= set(CARDS)


def test_every_error_line_of_the_troubleshooting_page_is_one_that_visionkit_prints():
    lines = ERROR.findall((HOWTO / "troubleshooting.md").read_text())
    assert len(lines) > 15
    assert [line for line in lines if not is_said(line)] == []


def test_reasons_of_a_map_of_zero_are_those_that_evaluate_gives():
    from visionkit.metrics.why_zero import LAST_RESORT, MISTAKES, NOTHING

    table = (HOWTO / "map_is_zero.md").read_text().partition("## What it can say")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([A-Zx][^|]+?) \|", table, re.M)
    known = {sentence for sentence, _ in [*MISTAKES, LAST_RESORT]}
    assert len(rows) > 5
    assert [row for row in rows if row not in known and not NOTHING.startswith(row)] == []


def test_a_line_that_nothing_prints_is_noticed():
    assert not is_said("the boxes are x, y, width, height; give corners in pixels")
    assert is_said("my_data: no such folder")
