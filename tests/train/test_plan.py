"""How long a training takes, by the pace of its steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionkit.train.plan import Plan, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (725, "12 min"),
        (3600, "1 h"),
        (4 * 3600 + 20 * 60 + 29, "4 h 20 min"),
        (7199, "2 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 7), st.data())
def test_scorings_are_counted_as_they_happen(phases, every, data):
    plan = Plan(phases=phases, steps=3, batch_size=2, val_images=5, every=every)
    begin = data.draw(st.integers(0, plan.epochs))
    end = data.draw(st.integers(begin, plan.epochs))
    scored = [epoch for epoch in range(1, plan.epochs + 1) if epoch % every == 0 or epoch == plan.epochs]  # as `Score`
    count = sum(begin < epoch <= end for epoch in scored)
    assert plan.scorings(begin, end) == count
    assert plan.seconds(begin, end, 2.0, 10.0) == pytest.approx((end - begin) * 3 * 2.0 + count * 10.0)


def test_an_estimate_begins_in_the_midst_of_an_epoch_and_guesses_what_a_scoring_takes():
    plan = Plan(phases=[4], steps=10, batch_size=2, val_images=8, every=2)
    assert plan.seconds(1.5, 4, 1.0, 100.0) == pytest.approx(25 + 2 * 100)
    assert plan.seconds(1.5, 4, 1.0) == pytest.approx(25 + 2 * 0.5 * 8 / 2)
    assert Plan(phases=[4], steps=10, batch_size=2).seconds(0, 4, 1.0) == 40


def test_fewer_epochs_are_suggested_where_the_training_is_long_and_has_that_knob():
    long = 4 * 3600 + 20 * 60
    plan = Plan(phases=[60], steps=10, batch_size=2, shorter=True)
    assert plan.in_words(long) == "about 4 h 20 min here; --epochs 20 takes 1 h 27 min"
    assert plan.in_words(600) == "about 10 min here"
    assert Plan(phases=[60], steps=10, batch_size=2).in_words(long) == "about 4 h 20 min here"
