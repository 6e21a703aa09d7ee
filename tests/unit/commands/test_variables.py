"""Tests of the search for unknown settings."""

from app.commands.variables import unknown_variables


def test_typo_names_intended_setting():
    """An unknown variable is named with the setting that is most like it."""
    assert unknown_variables(["KLEIN_RUN_TIMOUT"]) == [
        "KLEIN_RUN_TIMOUT is not a setting; did you mean KLEIN_RUN_TIMEOUT?"
    ]


def test_unlike_name_gets_no_suggestion():
    """An unknown variable that is like no setting is only named."""
    assert unknown_variables(["KLEIN_ZZZ"]) == ["KLEIN_ZZZ is not a setting"]


def test_known_and_foreign_variables_are_not_reported():
    """Settings, variables of others, and those of docker-compose.yml are not reported."""
    assert unknown_variables(["KLEIN_PORT", "REDIS_URL", "PATH", "KLEIN_GPU", "KLEIN_LISTEN"]) == []


def test_kubernetes_service_variables_are_not_reported():
    """Variables that Kubernetes sets for a Service named klein-api are not reported."""
    names = ["KLEIN_API_SERVICE_HOST", "KLEIN_API_SERVICE_PORT", "KLEIN_API_PORT_8000_TCP_ADDR"]

    assert unknown_variables(names) == []
    assert unknown_variables(names[1:2]) == ["KLEIN_API_SERVICE_PORT is not a setting"]
