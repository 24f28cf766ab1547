"""Settings: who beats whom, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recsys.config import Settings, build_settings, load_settings, parse_duration
from recsys.errors import ConfigError, InputError


def write(folder: Path, text: str) -> Path:
    path = folder / "recsys.toml"
    path.write_text(text, encoding="utf-8")
    return path


class TestLayers:
    def test_overrides_beat_the_environment_beats_the_file_beats_the_defaults(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[model]\nfactors = 7\niterations = 7\nalpha = 7.0\n")
        environ = {"RECSYS_MODEL__ITERATIONS": "8", "RECSYS_MODEL__ALPHA": "8.0"}
        model = load_settings(path, {"model": {"alpha": 9.0, "factors": None}}, environ).model
        assert (model.factors, model.iterations, model.alpha, model.seed) == (7, 8, 9.0, 0)

    def test_the_audit_is_that_of_the_method_unless_told_otherwise(self) -> None:
        audit = Settings().audit
        assert (audit.margin, audit.seeds, audit.placebos, audit.heads) == (0.001, 5, 5, ("logistic", "gbm"))

    def test_layers_merge_key_by_key_at_every_depth(self, tmp_path: Path) -> None:
        path = write(tmp_path, '[events.columns]\nuser = "u"\nitem = "i"\n')
        columns = load_settings(path, {"events": {"columns": {"item": "j"}}}, {}).events.columns
        assert (columns.user, columns.item, columns.time) == ("u", "j", "timestamp")

    @pytest.mark.parametrize("name", ["RECSYS_PROGRESS", "RECSYS_", "RECSYS_MODEL_FACTORS", "OTHER__KEY", ""])
    def test_other_names_in_the_environment_are_no_settings(self, name: str) -> None:
        assert load_settings(environ={name: "1"}) == Settings()

    def test_names_of_one_section_add_up(self) -> None:
        environ = {
            "RECSYS_MODEL__FACTORS": "5",
            "RECSYS_MODEL__ALPHA": "2",
            "RECSYS_EVENTS__COLUMNS__USER": "u",
        }
        settings = load_settings(environ={**environ, "RECSYS_EVENTS__COLUMNS__ITEM": "i"})
        assert (settings.model.factors, settings.model.alpha) == (5, 2.0)
        assert (settings.events.columns.user, settings.events.columns.item) == ("u", "i")

    def test_environment_is_read_when_none_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECSYS_MODEL__FACTORS", "32")
        assert load_settings().model.factors == 32

    @pytest.mark.parametrize(
        ("name", "text", "values"),
        [
            ("MODEL__FACTORS", "32", {"model": {"factors": 32}}),
            ("MODEL__ALPHA", "0.5", {"model": {"alpha": 0.5}}),
            ("MODEL__ENGINE", "local", {"model": {"engine": "local"}}),
            ("EVENTS__COLUMNS__USER", "uid", {"events": {"columns": {"user": "uid"}}}),
            ("EVENTS__SIGNALS", '["a", "b"]', {"events": {"signals": ("a", "b")}}),
            ("EVENTS__EVENT_TYPES", '{view = ["V"]}', {"events": {"event_types": {"view": ("V",)}}}),
            ("WINDOWS__TEST", "12h", {"windows": {"test": timedelta(hours=12)}}),
            (
                "WINDOWS__TEST_FROM",
                "2022-04-27T16:00:00Z",
                {"windows": {"test_from": "2022-04-27T16:00:00Z"}},
            ),
            (
                "SPARK__OPTIONS",
                '{"spark.ui.enabled" = false, "spark.sql.shuffle.partitions" = 8}',
                {"spark": {"options": {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "8"}}},
            ),
            ("OUTPUT__PATH", "out/x y", {"output": {"path": "out/x y"}}),
            ("OUTPUT__PATH", "2024", {"output": {"path": "2024"}}),
            ("OUTPUT__PATH", "2024-01-01", {"output": {"path": "2024-01-01"}}),
            ("OUTPUT__PATH", "[odd", {"output": {"path": "[odd"}}),
        ],
    )
    def test_environment_says_what_the_file_can_say(
        self, name: str, text: str, values: dict[str, Any]
    ) -> None:
        assert load_settings(environ={f"RECSYS_{name}": text}) == build_settings(values)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[modle]\nfactors = 3\n", r"^'modle' is not a setting: did you mean 'model'\?$"),
            ("[model]\nfactor = 3\n", r"^'model.factor' is not a setting: did you mean 'factors'\?$"),
            ("[events.columns]\nusr = 'u'\n", r"^'events.columns.usr' .* did you mean 'user'\?$"),
            ("[model]\nzzz = 3\n", r"choose from 'alpha', 'candidates', "),
            ("[model]\nfactors = 'many'\n", "model.factors: .*integer.*got 'many'"),
            ("[model]\nfactors = 2.5\n", "model.factors: .*got 2.5"),
            ("[model]\nfactors = 0\n", "model.factors: .*greater.*got 0"),
            ("[model]\nalpha = nan\n", "model.alpha: .*got nan"),
            ("[model]\nengine = 'cloud'\n", "model.engine: .*'local'.*got 'cloud'"),
            ("[spark]\nmaster = 'nowhere'\n", r"spark.master: a master looks like local.*got 'nowhere'"),
            ("model = 3\n", "model: .*got 3"),
            ("[events]\nsignals = 'long_view'\n", "events.signals: .*got 'long_view'"),
            ("[events]\nmax_refused = 1.5\n", "events.max_refused: .*got 1.5"),
            ("[events]\nlayout = 'event_log'\n", "event types that are views"),
            ("[windows]\ncalibrate = '3 days'\n", "windows.calibrate: .*3d, 12h or 1d12h, got '3 days'"),
            ("[windows]\ncalibrate = ''\n", "3d, 12h or 1d12h, got ''"),
            ("[windows]\ncalibrate = 3\n", "windows.calibrate: .*3d, 12h or 1d12h, got 3"),
            ("[windows]\ncalibrate = '99999999999d'\n", "windows.calibrate: .*99999999999d"),
            ("[windows]\ncalibrate = '99999d'\n", "windows.calibrate: .*99999d"),
            ("[windows]\ntest_from = 2022-04-27T16:00:00\n", "needs its zone, as in 2022-04-27T16:00:00Z"),
            ("[windows]\ntest_from = '2022-04-27'\n", "needs its zone"),
            ("[windows]\ntest_from = 2022-04-27\n", "windows.test_from: an instant looks like 2022-"),
            ("[windows]\ntest_from = 1650000000\n", "windows.test_from: an instant looks like 2022-"),
            ("[windows]\ntest_from = 'yesterday'\n", "windows.test_from: .*got 'yesterday'"),
            ("[model\n", "is not valid TOML"),
        ],
    )
    def test_wrong_file_is_one_line_that_names_the_way_out(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        with pytest.raises(ConfigError, match=said) as raised:
            load_settings(write(tmp_path, text), environ={})
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("environ", "said"),
        [
            ({"RECSYS_MODEL__FACTOR": "3"}, r"'model.factor' .* did you mean 'factors'\?"),
            ({"RECSYS_MODLE__FACTORS": "3"}, r"'modle' .* did you mean 'model'\?"),
            ({"RECSYS_MODEL__FACTORS": "many"}, "model.factors: .*got 'many'"),
            ({"RECSYS_WINDOWS__TEST": "3"}, "3d, 12h or 1d12h, got '3'"),
            ({"RECSYS_MODEL__FACTORS__X": "1", "RECSYS_MODEL__FACTORS": "3"}, "model.factors: "),
            ({"RECSYS_MODEL__FACTORS": "3", "RECSYS_MODEL__FACTORS__X": "1"}, "model.factors: "),
        ],
    )
    def test_wrong_environment_is_refused_too(self, environ: dict[str, str], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            load_settings(environ=environ)

    def test_file_that_is_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "recsys.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="not valid TOML"):
            load_settings(tmp_path / "recsys.toml", environ={})

    @pytest.mark.parametrize("name", ["absent.toml", "."])
    def test_missing_file_is_an_input_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match=r"toml' cannot be read: No such file"):
            load_settings(tmp_path / name)

    def test_settings_are_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            Settings().model.factors = 3  # type: ignore[misc]


class TestPaths:
    def test_relative_paths_start_at_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[events]\npath = 'log/*.parquet'\n[output]\npath = '../out'\n")
        settings = load_settings(path, environ={})
        assert settings.events.path == str(tmp_path / "log/*.parquet")
        assert settings.output.path == str(tmp_path / "../out")

    @pytest.mark.parametrize("place", ["/data/log.parquet", "s3://bucket/log.parquet"])
    def test_absolute_paths_and_addresses_stay(self, tmp_path: Path, place: str) -> None:
        path = write(tmp_path, f"[events]\npath = '{place}'\n")
        assert load_settings(path, environ={}).events.path == place

    def test_paths_from_elsewhere_start_at_the_current_folder(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[events]\npath = 'a'\n")
        settings = load_settings(path, {"events": {"path": "b"}}, {"RECSYS_OUTPUT__PATH": "c"})
        assert (settings.events.path, settings.output.path) == ("b", "c")

    def test_folder_means_the_file_inside(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[model]\nfactors = 5\n[events]\npath = 'a'\n")
        assert load_settings(tmp_path, environ={}) == load_settings(path, environ={})


class TestTime:
    @pytest.mark.parametrize(
        ("text", "length"),
        [
            ("3d", timedelta(days=3)),
            ("1d12h", timedelta(hours=36)),
            ("2w", timedelta(days=14)),
            ("90m", timedelta(minutes=90)),
            ("0s", timedelta(0)),
        ],
    )
    def test_lengths(self, text: str, length: timedelta) -> None:
        assert parse_duration(text) == length

    @pytest.mark.parametrize("text", ["3", "d", "3 d", "-3d", "3d?", "1.5d", "3D", "d3"])
    def test_anything_else_is_no_length(self, text: str) -> None:
        with pytest.raises(ValueError, match="looks like 3d"):
            parse_duration(text)

    @pytest.mark.parametrize("text", ["2022-04-27T16:00:00Z", "2022-04-28T00:00:00+08:00"])
    def test_instants_are_the_same_in_every_zone(self, text: str) -> None:
        found = build_settings({"windows": {"test_from": text}}).windows.test_from
        assert found == datetime(2022, 4, 27, 16, tzinfo=UTC)
        assert found.tzinfo is UTC
