"""Tests of the syntax of webhook URLs."""

import pytest

from app.webhooks.address import find_problem

HOST = "send a URL with a valid host name"
PORT = "send a URL with a port from 1 to 65535"
SCHEME = "send a URL that begins with http:// or https://"
CHARACTERS = "send a URL without spaces, backslashes and control characters"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://x.test:8443/a?b#c", None),
        ("http://127.0.0.1/", None),
        ("http://[2001:db8::1]/", None),
        ("https://münchen.test/", None),
        ("https://x.test./", None),
        (" https://x.test/", CHARACTERS),
        ("https://x.test\\@y.test/", CHARACTERS),
        ("https://x.test/" + "a" * 2048, "send a URL of at most 2048 characters"),
        ("x.test", SCHEME),
        ("ftp://x.test/", SCHEME),
        ("https://user@x.test/", "send a URL without a user name"),
        ("https://x.test:99999/", PORT),
        ("https://x.test:0/", PORT),
        ("https://x.test:http/", PORT),
        ("https://", HOST),
        ("https://[::1", HOST),
        ("https://a%00b/", HOST),
        ("https://a..b/", HOST),
        ("https://-x.test/", HOST),
        ("https://xn--a/", HOST),
        (f"https://{'a' * 64}.test/", HOST),
        ("https://256.1.1.1/", HOST),
    ],
)
def test_problem_names_the_part_of_the_url(url, problem):
    """An invalid URL is refused with what to send instead of the part that is wrong."""
    assert find_problem(url) == problem
