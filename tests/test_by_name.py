"""Unknown names are answered with those that they may stand for."""

import pytest

from visionkit.by_name import ByName, alike, nearest


@pytest.mark.parametrize(
    ("name", "known", "close"),
    [
        ("CAT", ["dog", "cat"], "cat"),
        ("cat", ["Dog", "CAT"], "CAT"),
        ("Straße", ["STRASSE", "Weg"], "STRASSE"),
        ("horze", ["Horse", "Cow"], "Horse"),
        ("cat", ["CAT", "Cat"], "CAT"),  # of names that differ by case only, the first
        ("zebra", ["Dog", "CAT"], None),
        ("cat", [], None),
    ],
)
def test_upper_and_lower_case_are_the_same(name, known, close):
    assert alike(name, known) == close


def test_all_names_are_listed_where_none_is_close():
    assert nearest("zebra", iter(["CAT", "cat", "dog"])) == "; there are CAT, cat, dog"
    assert nearest("Dogg", ["CAT", "cat", "dog"]) == "; did you mean 'dog'?"
    with pytest.raises(KeyError, match=r"no animal 'CATS'; did you mean 'cat'\?"):
        _ = ByName("animal", {"cat": 1})["CATS"]
