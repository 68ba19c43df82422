"""Typed changes to frozen settings: what nothing reads, or does not fit, is refused with the way out."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from benchmark.errors import ConfigError, UnknownNameError
from benchmark.settings import as_assignments, as_dict, override, parse_assignments


@dataclass(frozen=True)
class Inner:
    """Nested settings."""

    depth: int = 2


@dataclass(frozen=True)
class Settings:
    """One field of every kind that a model may use."""

    depth: int = 2
    rate: float = 0.5
    wide: bool = False
    name: str = "mean"
    betas: tuple[float, float] = (0.9, 0.999)
    widths: tuple[int, ...] = (8, 16)
    limit: int | None = 4
    note: str | None = None
    sizes: tuple[int, ...] | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth={self.depth} is not possible. At least 1 was expected.")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "7", 7),
        ("rate", "1e-3", 1e-3),
        ("rate", "2", 2.0),
        ("wide", "true", True),
        ("wide", "False", False),
        ("wide", "1", True),
        ("name", "max", "max"),
        ("name", "7", "7"),
        ("betas", "0.9,0.99", (0.9, 0.99)),
        ("betas", "(0.5, 0.9)", (0.5, 0.9)),
        ("widths", "[1,2,3]", (1, 2, 3)),
        ("widths", "5", (5,)),
        ("widths", "", ()),
        ("sizes", "1,2", (1, 2)),
        ("sizes", "none", None),
        ("limit", "none", None),
        ("limit", "None", None),
        ("limit", "12", 12),
        ("note", "none", None),
        ("note", "text", "text"),
    ],
)
def test_texts_become_the_fields_type(name, text, value):
    changed = getattr(override(Settings(), {name: text}, "model"), name)
    assert changed == value
    assert type(changed) is type(value)


def test_other_fields_and_the_original_stay_as_they_were():
    settings = Settings()
    changed = override(settings, {"depth": "3", "rate": "0.25"}, "model")
    assert (changed.depth, changed.rate, changed.betas) == (3, 0.25, settings.betas)
    assert settings == Settings()


def test_typed_values_pass_as_they_are():
    assert override(Settings(), {"widths": (3, 4), "wide": True}, "model").widths == (3, 4)


def test_an_unknown_key_lists_the_valid_ones_and_the_close_one():
    with pytest.raises(UnknownNameError) as error:
        override(Settings(), {"dephth": "3"}, "model")
    message = str(error.value)
    assert "There is no setting of model 'dephth'. Did you mean 'depth'?" in message
    assert all(name in message for name in ("betas", "widths", "limit", "rate"))
    assert "--set" in message


def test_a_key_that_resembles_nothing_has_no_suggestion():
    with pytest.raises(UnknownNameError) as error:
        override(Settings(), {"zzzzzzz": "3"}, "model")
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("depth", "three"),
        ("depth", "2.5"),
        ("depth", "none"),
        ("depth", ""),
        ("rate", "fast"),
        ("wide", "perhaps"),
        ("betas", "0.9"),
        ("betas", "0.9,0.99,0.999"),
        ("betas", "0.9,x"),
        ("limit", "many"),
    ],
)
def test_a_value_of_another_type_is_refused(name, text):
    with pytest.raises(ConfigError, match=r"does not fit.*was expected.*--set") as error:
        override(Settings(), {name: text}, "model")
    assert f"model.{name}={text!r}" in str(error.value)


def test_ranges_that_a_dataclass_checks_itself_are_told_in_its_words():
    with pytest.raises(
        ConfigError, match=r"depth=0 is not possible\. At least 1 was expected\. Correct the --set option"
    ):
        override(Settings(), {"depth": "0"}, "model")


@pytest.mark.parametrize("item", ["depth", "=3", "", "--depth 3"])
def test_an_assignment_without_a_key_or_value_is_refused(item):
    with pytest.raises(ConfigError, match=r"has no value.*`key=value` was expected"):
        parse_assignments([item])


def test_assignments_keep_what_follows_the_first_equals_sign_and_the_last_one_wins():
    assert parse_assignments(["a=b=c", " x = 1 ", "x=2"]) == {"a": "b=c", "x": "2"}


def test_settings_become_plain_values_for_json():
    plain = as_dict(Settings())
    assert plain["inner"] == {"depth": 2}
    assert plain["betas"] == [0.9, 0.999]
    assert plain["limit"] == 4


def test_a_dictionary_of_settings_is_what_one_would_type():
    typed = ("depth=7", "rate=0.001", "wide=True", "widths=1,2", "limit=None")
    given = {"depth": 7, "rate": 1e-3, "wide": True, "widths": (1, 2), "limit": None}
    assert as_assignments(given) == as_assignments(typed) == typed
    changed = override(Settings(), parse_assignments(list(typed)), "model")
    assert {name: getattr(changed, name) for name in given} == given
    assert as_assignments({"train": {"steps": 3}, "data.test": 4}) == ("train.steps=3", "data.test=4")
    assert as_assignments("train.steps=3") == ("train.steps=3",)
    with pytest.raises(ConfigError, match=r"'train.steps' has no value"):
        as_assignments(["train.steps"])
