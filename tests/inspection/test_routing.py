"""The decision: which folder an image goes to."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.labels import UNCLEAR
from inspection.routing import Thresholds, folder_for

THRESHOLDS = Thresholds(labels=("ok", "defect"), common=0.8, by_label={"defect": 0.9})


@pytest.mark.parametrize(
    ("label", "score", "folder"),
    [
        ("ok", 0.8, "ok"),
        ("ok", 0.79999, UNCLEAR),
        ("ok", 1.0, "ok"),
        ("defect", 0.9, "defect"),
        ("defect", 0.89999, UNCLEAR),
        ("defect", 0.8, UNCLEAR),
        ("OK", 1.0, UNCLEAR),
        ("unclear", 1.0, UNCLEAR),
        ("../ok", 1.0, UNCLEAR),
        ("", 1.0, UNCLEAR),
    ],
)
def test_a_score_that_reaches_its_labels_threshold_is_sure(label: str, score: float, folder: str):
    assert folder_for(label, score, THRESHOLDS) == folder


def test_a_threshold_of_zero_makes_every_answer_sure_and_one_only_certainty():
    assert folder_for("ok", 0.0, Thresholds(labels=("ok",), common=0.0)) == "ok"
    assert folder_for("ok", 0.9999, Thresholds(labels=("ok",), common=1.0)) == UNCLEAR
    assert folder_for("ok", 1.0, Thresholds(labels=("ok",), common=1.0)) == "ok"


@given(label=st.text(), score=st.floats(0, 1), common=st.floats(0, 1))
def test_no_answer_leads_out_of_the_known_folders(label: str, score: float, common: float):
    assert folder_for(label, score, Thresholds(labels=("ok", "defect"), common=common)) in {"ok", "defect", UNCLEAR}


@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.95, 0.1, 1.0])
def test_a_score_of_32_bits_reaches_the_threshold_that_it_equals(threshold: float):
    thresholds = Thresholds(labels=("ok",), common=threshold)
    arrived = struct.unpack("f", struct.pack("f", threshold))[0]
    assert folder_for("ok", arrived, thresholds) == "ok"
    assert folder_for("ok", float(f"{arrived:.8f}"), thresholds) == "ok"
    assert folder_for("ok", threshold - 1e-6, thresholds) == UNCLEAR


def test_seven_tenths_as_a_model_says_it_reaches_a_threshold_of_seven_tenths():
    assert folder_for("ok", 0.69999999, Thresholds(labels=("ok",), common=0.7)) == "ok"
