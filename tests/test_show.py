"""What a terminal shows of an audit."""

from __future__ import annotations

import pytest
from audits import COMPLETE, SPARSE

from recsys.audit import Audit
from recsys_cli.show import print_audit


def shown(audit: Audit, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_audit(audit)
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], *begins: str) -> list[str]:
    (found,) = (line.split() for line in lines if line.split()[: len(begins)] == list(begins))
    return found


def test_the_verdict_comes_before_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(COMPLETE, capsys)
    assert "96,500 exposures, 1,640 likes, 7,321 users; 20,480 past likes" in lines[0]
    assert tuple(lines[2:4]) == COMPLETE.verdict.sentences


def test_the_ladder_and_the_lifts_are_in_percent_and_points(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(COMPLETE, capsys)
    assert row(lines, "R1") == ["R1", "7.12", "6.52", "7.72", "+7.12", "5.12", "behaviour", "only"]
    assert row(lines, "R3")[4] == "-0.19"
    between = COMPLETE.lift("liked", "gbm").value.interval
    ends = [f"{100 * end:+.3f}" for end in (between.low, between.high)]
    pieces = ["+0.020", "+0.110", "+0.400", "+0.288", "+2.592"]
    assert row(lines, "liked", "gbm") == ["liked", "gbm", "+2.880", *ends, *pieces]


def test_columns_stand_under_their_headings(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(COMPLETE, capsys)
    start = next(place for place, line in enumerate(lines) if line.startswith("outcome"))
    for heading in ("head", "lift", "taste"):
        column = lines[start].index(heading)
        assert all(line[column - 1] == " " != line[column] for line in lines[start + 1 : start + 7])


def test_failed_controls_and_open_questions_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(COMPLETE, capsys))
    assert "controls: 2 of 3 passed" in text
    assert "FAILED, stops the audit: a a: Two placebo draws" in text
    assert "cut invariance" not in text
    assert "Which likes would have been pressed? they were not; needs an experiment" in text


def test_what_is_not_estimable_is_a_dash_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(SPARSE, capsys)
    assert lines[2] == "On long_view, the result is inconclusive."
    assert set(row(lines, "liked", "logistic")[2:]) == {"-"}
    assert "controls: none was run" in lines
    assert not any("nan" in line or "inf" in line.split() for line in lines)
