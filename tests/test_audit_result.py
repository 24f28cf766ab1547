"""What `audit.json` holds: the keys that other programs read, and nothing that JSON lacks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from audits import COMPLETE, SPARSE, UNSURE
from jsonschema import Draft202012Validator

from recsys.audit import Audit
from recsys.errors import UsageError

SCHEMA = json.loads((Path(__file__).parent / "golden" / "audit.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def written(audit: Audit) -> dict[str, Any]:
    """Give an audit as another program reads it."""
    return json.loads(json.dumps(audit.as_dict(), allow_nan=False))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Find every level of the schema whose keys are fixed."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield schema
        for below in schema.values():
            yield from objects(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from objects(below)


def test_the_schema_is_one_and_leaves_no_key_open() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    fixed = list(objects(SCHEMA))
    assert len(fixed) > 15
    for level in fixed:
        assert level["additionalProperties"] is False
        assert level["required"] == list(level["properties"])


@pytest.mark.parametrize("audit", [COMPLETE, SPARSE], ids=["complete", "sparse"])
def test_an_audit_is_what_the_schema_says(audit: Audit) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(written(audit))] == []


def test_a_key_more_or_less_or_of_another_kind_is_found() -> None:
    for path in ((), ("verdict",), ("known_before_press",), ("like_lift", "long_view", "gbm", "pieces")):
        for change in ("more", "less"):
            found = written(COMPLETE)
            level = found
            for step in path:
                level = level[step]
            if change == "more":
                level["surplus"] = 1
            else:
                level.popitem()
            assert not VALIDATOR.is_valid(found), (path, change)
    assert not VALIDATOR.is_valid({**written(COMPLETE), "settings_sha256": "short"})


def test_the_keys_of_the_design_hold_the_figures_of_the_audit() -> None:
    found = written(COMPLETE)
    lift = found["like_lift"]["long_view"]["logistic"]
    assert lift["value"] == COMPLETE.lift("long_view", "logistic").value.value
    assert lift["lower"] == COMPLETE.lift("long_view", "logistic").value.bound(0.05)
    assert lift["low"] < lift["lower"] < lift["value"] < lift["upper"] < lift["high"]
    known = found["known_before_press"]
    assert [known[name] for name in ("value", "low", "high")] == pytest.approx([0.0712, 0.0652, 0.0772])
    assert [rung["rung"] for rung in known["ladder"]] == ["R0", "R1", "R2", "R3", "R4", "R4°", "R5"]
    assert found["exchange_rate"]["exposures_per_like"]["value"] == 3.2
    assert found["windows"]["test"]["until"] == "2026-03-07T00:00:00+00:00"


def test_a_lift_or_rung_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        UsageError, match=r"no lift of 'long_view' under 'tree': choose from .*'long_view' under 'gbm'"
    ):
        COMPLETE.lift("long_view", "tree")
    with pytest.raises(UsageError, match=r"no rung 'R9': .*'R1'"):
        COMPLETE.known.rung("R9")


def test_what_cannot_be_estimated_is_null_wherever_it_stands() -> None:
    exchange = COMPLETE.exchange
    assert exchange is not None
    curve = exchange.curve.with_columns(with_likes=pl.lit(math.nan))
    segments = COMPLETE.segments.with_columns(lift=pl.lit(math.nan), p_value=pl.lit(math.inf))
    audit = replace(COMPLETE, exchange=replace(exchange, curve=curve), segments=segments)
    audit = replace(audit, settings={"deep": [{"er": -math.inf}]})
    found = written(audit)
    assert VALIDATOR.is_valid(found)
    assert {row["with_likes"] for row in found["exchange_rate"]["curve"]} == {None}
    assert {(row["lift"], row["p_value"]) for row in found["segments"]} == {(None, None)}
    assert found["settings"] == {"deep": [{"er": None}]}
    sparse = written(SPARSE)
    assert sparse["verdict"]["minimum_detectable_effect"] is None
    assert sparse["known_before_press"]["bits_left"]["R1"] is None
    assert set(sparse["like_lift"]["liked"]["gbm"]["pieces"]["taste"].values()) == {None}
    assert sparse["placebos"] == [{"kind": "habit", "moved": None, "overlap_halfway": None, "overlap": None}]
    assert set(UNSURE.as_dict().values()) == {None}
