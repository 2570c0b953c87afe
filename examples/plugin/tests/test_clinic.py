"""Tests of the plug-ins: the benchmark's contract, and their values."""
# ruff: noqa: D103  # the names say it

import numpy as np
import pytest
import torch
from clinic_plugin.centre_distance import CentreDistance
from clinic_plugin.make import make
from clinic_plugin.smooth import squared_difference

from benchmark.check import outcomes, targets


@pytest.mark.parametrize("name", ["smooth", "clinic", "centre_distance"])
def test_every_plug_in_keeps_the_contract(tmp_path, name):
    make(tmp_path / "clinic")
    (target,) = targets(name, tmp_path)
    assert [outcome for outcome in outcomes(target) if outcome.fault] == []


def test_a_constant_prediction_has_no_difference():
    assert squared_difference(torch.full((1, 2, 4, 4), 0.5)) == 0


def test_a_shift_by_two_rows_is_two_rows_in_mm():
    truth = np.zeros((1, 9, 9), bool)
    truth[0, 2:5, 2:5] = True
    assert CentreDistance().measure(np.roll(truth, 2, 1), truth, (4.0, 0.5, 0.7)) == 1.0
