"""Tests of the settings and how each environment variable is read."""

from datetime import timedelta
from pathlib import Path

import click
import pytest
from pydantic import ValidationError

from app.commands.settings import read_settings
from app.settings import Settings
from app.settings.server import StatusWords

FIELDS = pytest.mark.parametrize("name", Settings.model_fields)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Remove all settings from the environment."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


@FIELDS
def test_every_setting_has_variable_and_description(name):
    """Each field has a variable in capitals and a description."""
    field = Settings.model_fields[name]

    assert field.alias
    assert field.alias == field.alias.upper()
    assert field.description


@FIELDS
def test_empty_variable_keeps_default(name, monkeypatch):
    """An empty variable keeps the default."""
    default = Settings()
    monkeypatch.setenv(str(Settings.model_fields[name].alias), "")

    assert Settings() == default


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("KLEIN_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("KLEIN_PORT", "9000", "port", 9000),
        ("KLEIN_DATA", "/var/klein", "data", Path("/var/klein")),
        ("KLEIN_API_KEYS", "one", "api_keys", ("one",)),
        ("KLEIN_API_KEYS", " one, two ,,", "api_keys", ("one", "two")),
        ("KLEIN_API_KEYS", " , ", "api_keys", ()),
        ("KLEIN_ALLOW_HOSTS", "a.test,b.test", "allow_hosts", ("a.test", "b.test")),
        ("KLEIN_STATUS_WORDS", "documented", "status_words", StatusWords.DOCUMENTED),
        ("KLEIN_WEIGHTS", "owner/name", "weights", ("owner/name",)),
        ("KLEIN_WEIGHTS", "a, b/c", "weights", ("a", "b/c")),
        ("KLEIN_MODEL_TURN", "5m", "model_turn", timedelta(minutes=5)),
        ("KLEIN_RETENTION", "P1D", "retention", timedelta(days=1)),
        ("KLEIN_STRICT_INPUTS", "true", "strict_inputs", True),
        ("REDIS_URL", "redis://x:1/2", "redis_url", "redis://x:1/2"),
    ],
)
def test_variables_are_read(variable, text, name, value, monkeypatch):
    """The value of a variable is the value of its setting."""
    monkeypatch.setenv(variable, text)

    assert getattr(Settings(), name) == value


@pytest.mark.parametrize(
    "variable", ["RETENTION", "QUEUE_TIMEOUT", "RUN_TIMEOUT", "GRACE", "IDLE_UNLOAD"]
)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600", 3600),
        ("30s", 30),
        ("10m", 600),
        ("1h", 3600),
        ("7d", 604_800),
        (" 1H ", 3600),
        ("PT1H", 3600),
        ("0:30:00", 1800),
    ],
)
def test_durations_are_parsed(variable, text, seconds, monkeypatch):
    """A duration is a number of seconds, a number with a unit, or ISO 8601."""
    monkeypatch.setenv(f"KLEIN_{variable}", text)

    assert getattr(Settings(), variable.lower()) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "1 hour", "1w", "-5m", "1.5.2", "h"])
def test_invalid_duration_shows_form(text, monkeypatch):
    """The error of a wrong duration names the forms that are read."""
    monkeypatch.setenv("KLEIN_RUN_TIMEOUT", text)

    with pytest.raises(ValidationError, match="write 30s, 10m, 1h, 7d or a number of seconds"):
        Settings()


def test_duration_over_limit_is_refused(monkeypatch):
    """A duration that no timedelta holds is refused."""
    monkeypatch.setenv("KLEIN_RUN_TIMEOUT", "999999999d")
    assert Settings().run_timeout == timedelta(days=999_999_999)
    monkeypatch.setenv("KLEIN_RUN_TIMEOUT", "1000000000d")

    with pytest.raises(ValidationError, match="KLEIN_RUN_TIMEOUT"):
        Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KLEIN_PORT", "0"),
        ("KLEIN_RETENTION", "-P1D"),
        ("KLEIN_RETENTION", "0"),
        ("KLEIN_PORT", "65536"),
        ("KLEIN_PORT", "http"),
        ("KLEIN_STATUS_WORDS", "mine"),
        ("KLEIN_RETENTION", "soon"),
        ("KLEIN_BODY_MAX_BYTES", "1"),
        ("KLEIN_STRICT_INPUTS", "perhaps"),
    ],
)
def test_invalid_value_names_variable(variable, text, monkeypatch):
    """An invalid value is an error that names the variable."""
    monkeypatch.setenv(variable, text)

    with pytest.raises(ValidationError, match=variable):
        Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KLEIN_PUBLIC_URL", "example.com"),
        ("KLEIN_PUBLIC_URL", "https://"),
        ("KLEIN_PUBLIC_URL", "https://example.com/?a=1"),
        ("KLEIN_PUBLIC_URL", "https://example.com:port"),
        ("KLEIN_S3_PUBLIC_URL", "s3://bucket"),
        ("HF_ENDPOINT", "hub.example.com"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("KLEIN_ALLOW_ORIGINS", "app.example.com"),
        ("KLEIN_ALLOW_ORIGINS", "*, https://app.example.com/"),
    ],
)
def test_what_is_no_url_shows_one(variable, text, monkeypatch):
    """A URL without scheme or host, and an origin that no browser sends, are errors that show the form."""
    monkeypatch.setenv(variable, text)

    with pytest.raises(ValidationError, match="write one like https://"):
        Settings()


def test_urls_may_have_a_path(monkeypatch):
    """A URL may have a port and a path, and origins a port."""
    monkeypatch.setenv("KLEIN_PUBLIC_URL", "https://example.com:8443/klein/")
    monkeypatch.setenv("KLEIN_ALLOW_ORIGINS", "*, http://localhost:3000")

    assert Settings().public_url == "https://example.com:8443/klein/"
    assert Settings().allow_origins == ("*", "http://localhost:3000")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("KLEIN_PORT", "http", "KLEIN_PORT: 'http' is not a whole number"),
        (
            "KLEIN_BODY_MAX_BYTES",
            "64MB",
            "KLEIN_BODY_MAX_BYTES: '64MB' is not a whole number of bytes",
        ),
        ("KLEIN_STRICT_INPUTS", "maybe", "KLEIN_STRICT_INPUTS: 'maybe' is not true or false"),
    ],
)
def test_commands_say_what_is_wrong(variable, text, message, monkeypatch):
    """A command names the wrong value and what it should be, also where it has a unit."""
    monkeypatch.setenv(variable, text)

    with pytest.raises(click.ClickException) as raised:
        read_settings()
    assert raised.value.message == f"settings: {message}"


def test_replaced_component_needs_single_checkpoint(monkeypatch):
    """A list of checkpoints with a setting that replaces a component is an error that names the setting."""
    monkeypatch.setenv("KLEIN_VAE", "vae")
    monkeypatch.setenv("KLEIN_WEIGHTS", "one")
    assert Settings().vae == "vae"
    monkeypatch.setenv("KLEIN_WEIGHTS", "one,two")

    with pytest.raises(ValidationError, match="KLEIN_VAE replaces a part of one checkpoint"):
        Settings()


def test_defaults_follow_data_folder(tmp_path):
    """Storage and Redis are in the data folder unless they are set."""
    mine = Settings(data=tmp_path)

    assert mine.storage == f"file://{tmp_path}/outputs"
    assert mine.redis == f"unix://{tmp_path}/redis/redis.sock"
    assert Settings(storage_url="s3://x", redis_url="redis://y").storage == "s3://x"
    assert Settings(redis_url="redis://y").redis == "redis://y"


def test_settings_are_immutable():
    """A setting cannot be changed after the start."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # the test checks that it fails


@pytest.mark.parametrize("sizes", ["1024", "1024x1024x3", "32x64", "64x4096", "axb", "-64x64"])
def test_invalid_warm_up_sizes_are_refused(monkeypatch, sizes) -> None:
    """The error shows the size and the form it should have."""
    monkeypatch.setenv("KLEIN_WARM_SIZES", f"64x64, {sizes}")

    with pytest.raises(ValueError, match=rf"{sizes} is not WIDTHxHEIGHT"):
        Settings()


def test_files_hold_no_prompt_that_records_forget():
    """A server that forgets prompts does not write them into files by default."""
    with pytest.raises(ValueError, match="KLEIN_METADATA=full writes prompts into image files"):
        Settings(metadata="full", keep_prompts=False, _env_file=None)
