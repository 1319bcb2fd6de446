"""The order of the zoo's tests."""


def pytest_collection_modifyitems(items):
    """Puts the tests of one backbone side by side, so that each is built once and leaves memory before the next."""
    places = [i for i, item in enumerate(items) if item.path.name == "test_backbones.py"]
    names = [getattr(items[i], "callspec", None) and items[i].callspec.params.get("name") for i in places]
    first_seen = {name: i for i, name in reversed(list(enumerate(names)))}
    ordered = sorted(zip(places, names, strict=True), key=lambda place: first_seen[place[1]])
    for i, item in zip(places, [items[i] for i, _ in ordered], strict=True):
        items[i] = item
