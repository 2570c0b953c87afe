"""What `tox -e speed` fails for; the measuring itself is there."""

from tests.support.speed_table import Key, costs_of, ratios, regressions


def measured(how, seconds):
    """One test of a run, as pytest-benchmark writes it."""
    return {"group": "loss", "params": {"how": how}, "stats": {"min": seconds}, "extra_info": {}}


def test_a_ratio_half_as_large_again_as_committed_is_a_regression_on_any_machine():
    kept = {Key("loss", "here", "time"): 0.25}
    for machine in (1, 7):
        fast, slow = ([measured("naive", 2 * machine), measured("here", cost * machine)] for cost in (0.74, 0.76))
        assert regressions(ratios(costs_of(fast)), kept) == []
        assert regressions(ratios(costs_of(slow)), kept) == [
            "loss: the time of 'here' is 0.38 of the baseline's; committed was 0.25"
        ]
