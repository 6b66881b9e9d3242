"""docs/configuration.md says what the program really reads."""

from infra.reference import PURPOSES, TARGET, keys, reference


def test_the_reference_is_what_settings_say():
    assert TARGET.read_text() == reference(), "run `make docs`"


def test_each_key_has_a_purpose_and_says_what_is_allowed():
    found = list(keys())
    assert PURPOSES.keys() == {key for key, *_ in found}
    assert [key for key, _, _, allowed in found if not allowed] == []
