"""Hostile logs, what a plain reading of them accepts, and what the command line makes of them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.config import load_settings
from recsys.errors import RecsysError
from recsys.events import EventLog, read

Row = dict[str, Any]
#: user, item, microseconds since 1970, liked, clicks
Accepted = tuple[Any, Any, int, bool, float | None]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
LONGEST_LINE = 2000
REFUSALS = (65, 66, 78)

TEXTS = [
    *(
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "+1",
        "-1+1",
        "@SUM(1)",
        "../../etc/passwd",
        "/etc/passwd",
    ),
    *(
        "a\nb",
        "a\r\nb",
        "a\rb",
        "a\tb",
        'a"b',
        '""',
        "'; DROP TABLE users; --",
        "%s%n%x",
        "{0.__class__}",
        "{{7*7}}",
    ),
    *(
        "\x00",
        "a\x00b",
        "\x1b[31mred",
        "\x07",
        "\u202eevil",
        "é",
        "e\u0301",
        "日本",
        "🦄",
        "\ufeffx",
        "\u00a0",
        " x ",
    ),
    *(
        "007",
        "+7",
        "1e3",
        "0x10",
        "٣",
        "1_000",
        "NULL",
        "null",
        "NA",
        "nan",
        "None",
        "true",
        "-",
        "--",
        "a,b",
        "a;b",
    ),
    *(
        "$(id)",
        "`id`",
        "${HOME}",
        "\\",
        "\\n",
        "*",
        "?",
        "[a]",
        "as_of=2024-05-01",
        ".",
        "..",
        "CON",
        "x" * 5000,
    ),
]
STRAYS = ["abc", "1.5", "9" * 30, "-0", "1e5", "٣", "0x1", "7 ", "--1", "<b>"]
INTEGERS = [0, -1, -5, 2**31, -(2**31), 2**53, 2**63 - 1, -(2**63), 7, 10**15]
BAD_TIMES = [
    "",
    None,
    "yesterday",
    "2024-13-01",
    "2024-02-30T00:00",
    "01/05/2024",
    "0001-01-01",
    "9999-12-31",
    "nan",
    "5",
]
BAD_LIKES = [None, "", "2", "-1", "yes", "nan", "inf", "0.5", "1 1", "<b>"]
BAD_CLICKS = ["-1", "inf", "-inf", "nan", "a lot", "1,5", "0x1"]


@dataclass
class Case:
    """A log on the disk, and what is known of it.

    `rows` is what was written, as text or typed; None where only the machine that damaged it knows.
    """

    name: str
    path: str
    rows: list[Row] | None
    options: dict[str, Any] = field(default_factory=dict)
    as_of: datetime | None = None
    #: Rows that were not touched and must come through if anything does, and how many others may.
    untouched: list[Row] | None = None
    others: int = 0
    statuses: tuple[int, ...] | None = None


@dataclass
class Found:
    """What a plain reading makes of a log."""

    read: int
    refused: int
    accepted: list[Accepted]
    duplicates: int

    def status(self, max_refused: float) -> int:
        """Give the exit status that the README promises."""
        if not self.read or self.refused > max_refused * self.read or self.refused == self.read:
            return 65
        return 0 if any(row[3] for row in self.accepted) else 65


def read_plainly(case: Case) -> Found:
    """Read rows by the rules of the README, one by one."""
    unit, from_text = case.options.get("time_unit"), case.options.get("text", False)
    told = [(_time(row["timestamp"], unit), row) for row in case.rows or []]
    before = [one for one in told if one[0] is None or case.as_of is None or one[0] < case.as_of]
    rows = [row for _, row in before]
    users, items = ([_id(row[name], from_text) for row in rows] for name in ("user_id", "item_id"))
    if from_text:
        users, items = _ids_of_column(users), _ids_of_column(items)
    accepted: dict[tuple[Any, Any, int], Accepted] = {}
    refused, duplicates = 0, 0
    for (time, row), user, item in zip(before, users, items, strict=True):
        like, clicks = _number(row["liked"]), _number(row.get("clicks"))
        good = user is not None and item is not None and time is not None and EARLIEST <= time <= LATEST
        good = good and like in (0.0, 1.0)
        good = good and (clicks is None or (math.isfinite(clicks) and clicks >= 0))
        if not good or time is None:
            refused += 1
            continue
        key = (user, item, (time - EPOCH) // timedelta(microseconds=1))
        if key in accepted:
            duplicates += 1
        else:
            accepted[key] = (*key, like == 1.0, clicks)
    return Found(len(rows), refused, sorted(accepted.values(), key=repr), duplicates)


def _id(value: Any, from_text: bool) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) and abs(value) < 2**53 else None
    return str(value) if from_text else value


def _ids_of_column(texts: Sequence[str | None]) -> list[Any]:
    """Read a column of text as integers when all but 1 % of it are."""
    known = [text for text in texts if text is not None]
    if not known:
        return list(texts)
    padded = all(text.endswith(".0") for text in known)
    digits = [text[:-2] if text is not None and padded else text for text in texts]
    for low, high in ((-(2**63), 2**63 - 1), (0, 2**64 - 1)):
        numbers = [
            int(text)
            if text is not None and re.fullmatch(r"0|-?[1-9][0-9]{0,19}", text) and low <= int(text) <= high
            else None
            for text in digits
        ]
        if len(known) - sum(number is not None for number in numbers) <= 0.01 * len(known):
            return list(numbers)
    return list(texts)


def _time(value: Any, unit: str | None) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return _instant(value, unit or "s")
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        try:
            return _instant(float(value), unit or "s")
        except ValueError:
            return None
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        return time.replace(tzinfo=UTC)


def _instant(value: float, unit: str) -> datetime | None:
    if not math.isfinite(value):
        return None
    micros = (
        round(value * 1_000_000 // PER_SECOND[unit])
        if isinstance(value, int)
        else value * 1e6 / PER_SECOND[unit]
    )
    # Beyond all calendars is implausible too.
    return EPOCH + timedelta(microseconds=round(min(max(micros, 0), 4.2e15)))


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return float(word == "true")
        try:
            return math.nan if "_" in word else float(word)
        except ValueError:
            return math.nan
    return float(value)


# --- logs ---------------------------------------------------------------------------------------------------------


def draw_rows(draw: random.Random, count: int, text: bool) -> list[Row]:
    """Draw good rows, some of them twice; the first liked, the second not."""
    strings = draw.random() < 0.5
    ids: Callable[[], Any] = (
        (lambda: draw.choice(TEXTS) if draw.random() < 0.3 else f"u{draw.randrange(30)}")
        if strings
        else (lambda: draw.choice(INTEGERS) if draw.random() < 0.1 else draw.randrange(1, 40))
    )
    rows: list[Row] = []
    for number in range(count):
        time = NOON + timedelta(
            seconds=draw.randrange(-50_000, 50_000), microseconds=draw.randrange(1_000_000)
        )
        row: Row = {
            "user_id": ids(),
            "item_id": ids(),
            "timestamp": _say_time(draw, time) if text else time,
            "liked": (number == 0 or (number > 1 and draw.random() < 0.3)),
            "clicks": draw.choice([None, 0, 1, 2.5, 1e300, 5e-324]),
        }
        if text:
            row = {name: None if value is None else _say(draw, name, value) for name, value in row.items()}
        rows.append(row)
        if draw.random() < 0.05:
            rows.append(dict(row))
    return rows


def _say_time(draw: random.Random, time: datetime) -> str:
    whole = time.replace(microsecond=0)
    east = whole.astimezone(UTC) + timedelta(hours=2)
    return draw.choice(
        [
            time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            whole.strftime("%Y-%m-%d %H:%M:%S"),
            whole.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            east.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
            whole.strftime("%Y-%m-%d"),
        ]
    )


def _say(draw: random.Random, name: str, value: Any) -> str:
    if name == "liked":
        return draw.choice([["0", "false", "False", " 0 "], ["1", "true", "TRUE", "1.0"]][value])
    return str(value)


def spoil(draw: random.Random, rows: list[Row]) -> None:
    """Make some values of some rows such that no rule lets them through, or some."""
    pools: dict[str, list[Any]] = {
        "user_id": [None, "", *STRAYS],
        "item_id": [None, "", *STRAYS],
        "timestamp": BAD_TIMES,
        "liked": BAD_LIKES,
        "clicks": BAD_CLICKS,
    }
    share = draw.choice([0.0, 0.02, 0.1, 0.6])
    for row in rows[2:]:
        for name, pool in pools.items():
            if draw.random() < share / 3:
                row[name] = draw.choice(pool)


def csv_case(draw: random.Random, folder: Path) -> Case:
    """Write a CSV whose values are hostile and whose form is right."""
    rows = draw_rows(draw, draw.choice([2, 5, 40, 150]), text=True)
    spoil(draw, rows)
    names = [
        *rows[0],
        *draw.choice([[], ["row"], ["reasons", "<b>"], ["note\nx", " "], ["recsys:row", "as_of"]]),
    ]
    draw.shuffle(names)
    said = io.StringIO()
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    writer = csv.writer(said, quoting=quoting, lineterminator=draw.choice(["\n", "\r\n"]))
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row.get(name, "x\ny") is None else row.get(name, "x\ny") for name in names])
    path = folder / "log.csv"
    path.write_bytes((b"\xef\xbb\xbf" if draw.random() < 0.1 else b"") + said.getvalue().encode())
    return Case("csv", path.name, rows, {"text": True})


def broken_csv(draw: random.Random, folder: Path) -> Case:
    """Flip, drop or add bytes in a line or two of a CSV, quotes above all, or cut it short."""
    rows = [
        {**row, "user_id": str(1 + at), "item_id": str(7 * at), "clicks": "1"}
        for at, row in enumerate(draw_rows(draw, draw.choice([5, 60, 300]), text=True))
    ]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    touched = {draw.randrange(1, len(lines)) for _ in range(draw.choice([1, 1, 2]))}
    for at in touched:
        line, place = lines[at], draw.randrange(len(lines[at]) + 1)
        lines[at] = draw.choice(
            [
                line[:place] + '"' + line[place:],
                '"' + line,
                line + '"',
                line.replace(",", ',"', 1),
                line[:place],
                line[:place] + chr(draw.randrange(256)) + line[place + 1 :],
                line[:place] + "," + line[place:],
                line[:place] + "\n" + line[place:],
                line[:place] + "\x00" + line[place:],
            ]
        )
    content = "\n".join(lines).encode("latin-1" if draw.random() < 0.2 else "utf-8", "replace")
    if draw.random() < 0.2:
        end = draw.randrange(len(content))
        content, touched = content[:end], {*touched, *range(content[:end].count(b"\n"), len(lines) + 1)}
    path = folder / "log.csv"
    path.write_bytes(content)
    # Two quotes are one field of many lines, by the rules of the format.
    near = set(range(min(touched) - 1, max(touched) + 2))
    untouched = [row for at, row in enumerate(rows, 1) if at not in near]
    return Case(
        "broken csv",
        path.name,
        None,
        {"text": True},
        untouched=untouched,
        others=len(rows) - len(untouched) + 2,
    )


ID_KINDS: list[Any] = [
    pa.int64(),
    pa.string(),
    pa.large_string(),
    pa.float64(),
    pa.uint64(),
    pa.int8(),
    pa.binary(),
]


def typed_case(draw: random.Random, folder: Path) -> Case:
    """Write a parquet or NDJSON file of typed values."""
    rows = draw_rows(draw, draw.choice([2, 5, 40, 150]), text=False)
    kinds = {name: draw.choice(ID_KINDS) for name in ("user_id", "item_id")}
    unit = draw.choice([None, None, "s", "ms", "us"])
    for number, row in enumerate(rows):
        for name, kind in kinds.items():
            row[name] = None if number > 1 and draw.random() < 0.03 else _of_kind(draw, kind)
        if number > 1 and draw.random() < 0.05:
            row["clicks"] = draw.choice([-1.0, math.inf, -math.inf, math.nan, None])
        if number > 1 and draw.random() < 0.03:
            row["liked"] = None
        if unit is not None:
            micros = (row["timestamp"] - EPOCH) // timedelta(microseconds=1)
            row["timestamp"] = micros * PER_SECOND[unit] // 1_000_000
            if number > 1 and draw.random() < 0.05:
                row["timestamp"] = draw.choice([None, 0, -1, 2**62, -(2**62), 10**11])
    time = pa.timestamp("us", tz="UTC") if unit is None else pa.int64()
    schema = {**kinds, "timestamp": time, "liked": pa.bool_(), "clicks": pa.float64()}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in schema.items()})
    path = folder / "log.parquet"
    pq.write_table(
        table, path, row_group_size=draw.choice([3, 50, 1000]), compression=draw.choice(["none", "zstd"])
    )
    wrong = any(kind == pa.binary() for kind in kinds.values())
    return Case("parquet", path.name, rows, {"time_unit": unit}, statuses=(78,) if wrong else None)


def _of_kind(draw: random.Random, kind: Any) -> Any:
    if kind == pa.int8():
        return draw.randrange(-128, 128)
    if kind == pa.uint64():
        return draw.choice([0, 2**64 - 1, 2**63, draw.randrange(50)])
    if kind == pa.int64():
        return draw.choice([*INTEGERS, draw.randrange(50)])
    if kind == pa.float64():
        return draw.choice([1.0, -3.0, 2.0**52, 1.5, math.nan, math.inf, 2.0**53, float(draw.randrange(50))])
    if kind == pa.binary():
        return draw.choice([b"\x00", b"\xff\xfe"])
    return draw.choice(["", "a", *TEXTS])


def json_case(draw: random.Random, folder: Path) -> Case:
    """Write NDJSON of mixed values."""
    rows = draw_rows(draw, draw.choice([2, 5, 40]), text=False)
    lines, extra = (
        [],
        draw.choice([[None, {"a": [1, {}]}], [None, []], [None, "x"], [None, 1.5, 2], [True, "x", 1]]),
    )
    for row in rows:
        row["timestamp"] = row["timestamp"].isoformat()
        row["liked"] = int(row["liked"])
        kept = [*row.items(), ("extra", draw.choice(extra))]
        draw.shuffle(kept)
        lines.append(
            json.dumps({key: value for key, value in kept if value is not None or draw.random() < 0.5})
        )
    path = folder / "log.ndjson"
    path.write_text("\n".join(lines) + "\n")
    return Case("ndjson", path.name, rows)


def broken_parquet(draw: random.Random, folder: Path) -> Case:
    """Flip bits of a parquet file, cut it short, or put something else in its middle."""
    case = typed_case(draw, folder)
    path = folder / case.path
    content, written = bytearray(path.read_bytes()), pq.read_schema(path)
    how = draw.choice(["flip", "flip", "footer", "cut", "zero", "twice"])
    if how == "flip":
        for _ in range(draw.choice([1, 1, 2, 8])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif how == "footer":
        content[-draw.randrange(1, min(len(content), 900))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        content = content[: draw.randrange(len(content))]
    elif how == "zero":
        start = draw.randrange(len(content))
        content[start : start + 16] = bytes(16)
    else:
        content += content[draw.randrange(len(content)) :]
    path.write_bytes(content)
    try:
        rows = [dict(row) for row in pq.read_table(path).to_pylist()]
        same_kind = bool(rows and case.rows) and pq.read_schema(path).equals(written)
    except Exception:  # whatever an independent reader says of it
        rows, same_kind = None, False
    unit = case.options["time_unit"]
    return Case(
        f"broken parquet, {how}",
        case.path,
        rows if same_kind else None,
        {"time_unit": unit},
        statuses=(0, *REFUSALS),
    )


def wrong_unit(draw: random.Random, folder: Path) -> Case:
    """Declare a unit that the epochs are not in, or none where it is in doubt."""
    rows = draw_rows(draw, 20, text=False)
    meant, said = draw.sample(sorted(PER_SECOND), 2)
    for row in rows:
        micros = (row["timestamp"] - EPOCH) // timedelta(microseconds=1)
        row["timestamp"] = micros * PER_SECOND[meant] // 1_000_000
    if draw.random() < 0.4:
        rows[0]["timestamp"], rows[1]["timestamp"], said = 1_700_000_000, 1_700_000_000_000, ""
        meant = "doubt"
    _write_frame(rows, folder / "log.parquet")
    return Case("wrong unit", "log.parquet", None, {"time_unit": said or None}, statuses=(65, 78))


def _write_frame(rows: list[Row], path: Path) -> None:
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)


def doubled_columns(draw: random.Random, folder: Path) -> Case:
    """Name a column twice."""
    rows = draw_rows(draw, 10, text=True)
    for row in rows:
        row["user_id"] = row["item_id"] = "1"
    name = draw.choice(list(rows[0]))
    if draw.random() < 0.5:
        lines = [",".join([*rows[0], name])]
        lines += [",".join([*(value or "" for value in row.values()), "9"]) for row in rows]
        (folder / "log.csv").write_text("\n".join(lines) + "\n")
        return Case("doubled columns, csv", "log.csv", None, statuses=REFUSALS)
    columns = [pa.array([row[one] for row in rows]) for one in [*rows[0], name]]
    pq.write_table(pa.Table.from_arrays(columns, names=[*rows[0], name]), folder / "log.parquet")
    return Case("doubled columns, parquet", "log.parquet", None, statuses=REFUSALS)


def drift_case(draw: random.Random, folder: Path) -> Case:
    """Write a log in parts of which one has another schema."""
    parts = [draw_rows(draw, 10, text=True) for _ in range(draw.choice([2, 3]))]
    numbers = iter(range(10_000))
    for part in parts:
        for row in part:
            row["user_id"], row["item_id"], row["clicks"] = str(next(numbers)), "5", "1"
    how = draw.choice(["none", "order", "more", "fewer", "renamed", "type"])
    kind = draw.choice(["csv", "parquet"])
    (folder / "log").mkdir()
    for at, part in enumerate(parts):
        names, table = list(part[0]), part
        if at == len(parts) - 1 or (how != "none" and at == 0 and draw.random() < 0.3):
            names = _drifted(draw, names, how)
        path = folder / f"log/part-{at}.{kind}"
        if kind == "csv":
            lines = [",".join(names), *(",".join(row.get(name) or "x" for name in names) for row in table)]
            path.write_text("\n".join(lines) + "\n")
        else:
            columns = {name: [row.get(name) or "x" for row in table] for name in names}
            frame = pl.DataFrame(columns)
            if how == "type" and at == len(parts) - 1:
                frame = frame.with_columns(pl.col("user_id").cast(pl.Int64))
            frame.write_parquet(path)
    rows = [row for part in parts for row in part]
    statuses = None if how == "none" else (0, *REFUSALS)
    return Case(f"drift, {how}, {kind}", "log", rows, {"text": kind == "csv"}, statuses=statuses)


def _drifted(draw: random.Random, names: list[str], how: str) -> list[str]:
    if how == "order":
        return draw.sample(names, len(names))
    if how == "more":
        return [*names, "more"]
    if how == "fewer":
        return [name for name in names if name != draw.choice(["clicks", "liked", "user_id"])]
    return [f"{name}_" if name == "item_id" and how == "renamed" else name for name in names]


def huge_strings(draw: random.Random, folder: Path) -> Case:
    """Write a string of 10 MB: an id, a header, a value that is none."""
    rows = draw_rows(draw, 5, text=True)
    where = draw.choice(["user_id", "liked", "timestamp", "header"])
    huge = draw.choice(["x", "9", '"', "é"]) * (10 * 2**20 // draw.choice([1, 2]))
    if where != "header":
        rows[-1][where] = huge
    if draw.random() < 0.5 and where != "header":
        pq.write_table(
            pa.table({name: [row[name] for row in rows] for name in rows[0]}), folder / "log.parquet"
        )
        return Case(f"10 MB in {where}, parquet", "log.parquet", rows)
    said = io.StringIO()
    writer = csv.writer(said)
    writer.writerow([huge if where == "header" and name == "clicks" else name for name in rows[0]])
    for row in rows:
        writer.writerow(["" if value is None else value for value in row.values()])
    (folder / "log.csv").write_text(said.getvalue(), newline="")
    if where == "header":
        return Case("10 MB in header, csv", "log.csv", None, {"text": True}, statuses=(78,))
    return Case(f"10 MB in {where}, csv", "log.csv", rows, {"text": True})


def garbage(draw: random.Random, folder: Path) -> Case:
    """Write bytes that are nothing, under a name that says otherwise."""
    name = draw.choice(
        ["log.csv", "log.parquet", "log.ndjson", "log.csv.gz", "log.csv.zst", "log.jsonl", "log.pq"]
    )
    content = draw.choice(
        [
            b"",
            b"\n",
            b"\x00" * 100,
            b"PAR1" + b"\x00" * 8 + b"PAR1",
            draw.randbytes(300),
            b"{" * 5000,
            b"[[[" * 3000,
        ]
    )
    (folder / name).write_bytes(content)
    return Case(f"garbage, {name}", name, None, statuses=REFUSALS)


#: Each with its weight.
KINDS: list[tuple[int, Callable[[random.Random, Path], Case]]] = [
    (24, csv_case),
    (16, broken_csv),
    (20, typed_case),
    (10, json_case),
    (24, broken_parquet),
    (4, wrong_unit),
    (4, doubled_columns),
    (8, drift_case),
    (1, huge_strings),
    (6, garbage),
]


def draw_case(seed: int, folder: Path, kinds: Sequence[str] = ()) -> Case:
    """Draw one hostile log, with or without a bound on time."""
    draw = random.Random(seed)
    chosen = [one for one in KINDS if not kinds or one[1].__name__ in kinds]
    kind = draw.choices([one for _, one in chosen], [weight for weight, _ in chosen])[0]
    case = kind(draw, folder)
    case.options["max_refused"] = draw.choice([0.01, 0.3, 1.0])
    if draw.random() < 0.3:
        case.as_of = NOON.replace(hour=0) + timedelta(days=draw.choice([0, 1, 1]))
    return case


# --- what is made of them -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the command line answered; `native` is what a library wrote past Python."""

    status: int
    out: str
    err: str
    native: str


def call(arguments: Sequence[str]) -> Answer:
    """Run the command line in this process."""
    from recsys_cli.app import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    with native_stderr() as native, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Answer(status, out.getvalue(), err.getvalue(), native[0])


@contextlib.contextmanager
def native_stderr() -> Iterator[list[str]]:
    """Catch what is written to descriptor 2."""
    said, kept = [""], os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said[0] = file.read().decode(errors="replace")


def judge(case: Case, folder: Path) -> list[str]:
    """Say what is wrong with what the command line, and the library, make of a log."""
    options = {
        "max_refused": case.options["max_refused"],
        "signals": ["clicks"],
        "time_unit": case.options.get("time_unit"),
    }
    (folder / "recsys.toml").write_text(toml_of(case, options))
    kept = folder / "refused"
    day = [] if case.as_of is None else ["--as-of", (case.as_of - timedelta(days=1)).date().isoformat()]
    said = call(["check", "-c", str(folder), "-o", str(kept), "--json", "-q", *day])
    wrong = _wrong_words(said)
    found = None if case.rows is None else read_plainly(case)
    allowed = case.statuses or (0, 65)
    if found is not None and case.statuses in (None, (0, *REFUSALS)):
        plain = found.status(case.options["max_refused"])
        allowed = (plain,) if case.statuses is None else (plain, *REFUSALS)
    if case.untouched is not None:
        allowed = (0, *REFUSALS)
    if said.status not in allowed:
        wrong.append(f"exit {said.status}, not one of {allowed}: {said.err[:300]}")
    if said.status == 0:
        wrong += _wrong_rows(case, found, said, folder)
    if said.status in (66, 78) and kept.exists():
        wrong.append(f"left {sorted(path.name for path in kept.iterdir())}")
    return wrong


def toml_of(case: Case, options: dict[str, Any]) -> str:
    lines = [
        f"path = {json.dumps(case.path)}",
        'signals = ["clicks"]',
        f"max_refused = {options['max_refused']}",
    ]
    if options["time_unit"]:
        lines.append(f'time_unit = "{options["time_unit"]}"')
    return "\n".join(["[events]", *lines, ""])


def _wrong_words(said: Answer) -> list[str]:
    wrong = []
    if said.native:
        wrong.append(f"written past Python: {said.native[:300]}")
    if said.status and (said.err.count("\n") != 1 or not said.err.startswith("recsys: ") or said.out):
        wrong.append(f"not one line: {said.err[:500]!r}, {said.out[:200]!r}")
    if len(said.err) > LONGEST_LINE:
        wrong.append(f"a line of {len(said.err):,} characters")
    if "Traceback" in said.err or "defect" in said.err:
        wrong.append(f"a defect: {said.err[:300]}")
    if not said.status and said.err:
        wrong.append(f"words beside success: {said.err[:300]}")
    return wrong


def _wrong_rows(case: Case, found: Found | None, said: Answer, folder: Path) -> list[str]:
    settings = load_settings(folder, environ={}).events
    log = read(settings, case.as_of)
    counts, told = log.counts, json.loads(said.out)["rows"]
    wrong = []
    if (told["read"], told["accepted"], told["refused"]) != (counts.read, counts.accepted, counts.refused):
        wrong.append(f"said {told}, read {counts}")
    if counts.read != counts.accepted + counts.refused + counts.duplicates:
        wrong.append(f"rows are lost: {counts}")
    refused = pl.read_parquet(folder / "refused/refused.parquet")
    if len(refused) != counts.refused or refused["reasons"].null_count() or (refused["reasons"] == "").any():
        wrong.append(
            f"{counts.refused} refused, {len(refused)} kept with reasons {refused['reasons'].to_list()[:5]}"
        )
    rows = accepted_rows(log)
    if found is not None:
        mine = (found.read, found.refused, found.duplicates)
        if mine != (counts.read, counts.refused, counts.duplicates):
            wrong.append(f"read, refused, duplicates {mine} by hand, {counts}")
        strange = [row for row in rows if row not in set(found.accepted)]
        if rows != found.accepted:
            wrong.append(
                f"{len(strange)} strange rows, {str(strange[:2])[:300]} for {str(found.accepted[:2])[:300]}"
            )
    if case.untouched is not None:
        wrong += _wrong_untouched(case, rows)
    return wrong


def _wrong_untouched(case: Case, rows: list[Accepted]) -> list[str]:
    meant = read_plainly(Case(case.name, case.path, case.untouched, case.options, case.as_of))
    # One damaged id may turn a column of numbers into one of strings.
    mine = {(str(row[0]), str(row[1]), *row[2:]) for row in meant.accepted}
    theirs = {(str(row[0]), str(row[1]), *row[2:]) for row in rows}
    wrong = [f"untouched rows are lost: {sorted(mine - theirs)[:3]}"] if mine - theirs else []
    if len(theirs - mine) > case.others:
        wrong.append(f"{len(theirs - mine)} rows of {case.others} touched")
    return wrong


def accepted_rows(log: EventLog) -> list[Accepted]:
    """Give accepted rows as plain values."""
    shown = log.exposures.with_columns(pl.col("timestamp").dt.epoch("us"))
    columns = ["user_id", "item_id", "timestamp", "liked", "clicks"]
    return sorted(shown.select(columns).rows(), key=repr)


def attack(seed: int, kinds: Sequence[str] = (), keep: Path | None = None) -> tuple[str, list[str]]:
    """Draw a hostile log, and say what is wrong with what is made of it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        case = draw_case(seed, folder, kinds)
        try:
            wrong = judge(case, folder)
        except RecsysError as error:
            wrong = [f"check passed, read did not: {error}"]
        if wrong and keep is not None:
            shutil.copytree(folder, keep / str(seed), dirs_exist_ok=True)
        return case.name, wrong
