"""Checks the promises at the end of a chaos run, by callers, receiver, Redis and disk."""

import io
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import httpx
from PIL import Image
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.predictions.redis_keys import LEDGER, OPEN
from tests.chaos.load import FINAL, CallerRequest, look
from tests.chaos.system import System
from tests.support.webhook_receiver import Receiver

SECRET = "whsec_" + "c2VjcmV0" * 6


@dataclass
class Verdict:
    """The figures, and every violation."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def row(self, name: str, value: object) -> None:
        self.rows.append((name, str(value)))

    def violation(self, description: str) -> None:
        self.violations.append(description)

    def table(self) -> str:
        lines = ["| Measured | Result |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self.rows]
        lines += [f"| **violations** | **{len(self.violations)}** |"]
        return "\n".join(lines + [f"VIOLATION {v}" for v in self.violations[:50]])


def judge(
    system: System, receiver: Receiver, requests: list[CallerRequest], verdict: Verdict
) -> None:
    """Read every request's prediction once more and compare."""
    accepted = [a for a in requests if a.ids]
    for one in requests:
        for refusal in one.refusals:
            verdict.violation(f"{one.idempotency_key}: refused with {refusal}")
        if len(one.ids) > 1:
            verdict.violation(
                f"{one.idempotency_key}: one request created several predictions {one.ids}"
            )
    verdict.row("requests sent", sum(a.posts for a in requests))
    verdict.row("accepted", len(accepted))
    with httpx.Client(base_url=system.url, trust_env=False, timeout=30) as client:
        states = Counter(check_end(client, one, verdict) for one in accepted)
        listed = _listed(client, {a.key for a in requests})
    twice = [i for i, times in listed.items() if times > 1]
    for prediction_id in twice:
        verdict.violation(f"{prediction_id}: listed and charged twice")
    images = sum(one.images for one in accepted if one.has_valid_images)
    verdict.row("final states", ", ".join(f"{n} {s}" for s, n in sorted(states.items())))
    verdict.row("images of the right size and colour", images)
    verdict.row("predictions listed twice in a history", len(twice))
    check_webhooks(receiver, accepted, verdict)
    _check_rest(system, verdict)


def check_end(client: httpx.Client, one: CallerRequest, verdict: Verdict) -> str:
    """Compare one prediction's end with its request, and return its status."""
    body = next(
        (response_body for _ in range(20) if (response_body := look(client, one)) is not None), None
    )
    if body is None or body["status"] not in FINAL:
        verdict.violation(f"{one.ids}: not final: {body}")
        return "not final"
    if one.changed:
        verdict.violation(f"{one.ids}: changed after it was final: {one.changed}")
    if body["status"] == "success":
        one.has_valid_images = _check_images(client, one, body["output"], verdict)
    elif body["status"] == "error":
        _check_error(one, body, verdict)
    elif not one.is_cancelled:
        verdict.violation(f"{one.ids}: cancelled without a request")
    return str(body["status"])


def _check_images(
    client: httpx.Client, one: CallerRequest, output: str | list[str], verdict: Verdict
) -> bool:
    before = len(verdict.violations)
    urls = [output] if isinstance(output, str) else output
    if len(urls) != one.images:
        verdict.violation(f"{one.ids}: {len(urls)} images instead of {one.images}")
    for url, colour in zip(urls, one.colours(), strict=False):
        answer = client.get(url)
        if answer.status_code != httpx.codes.OK:
            verdict.violation(f"{one.ids}: {url} answers {answer.status_code}")
            continue
        with Image.open(io.BytesIO(answer.content)) as image:
            if image.size != (64, 64) or image.getpixel((1, 1)) != tuple(colour):
                verdict.violation(f"{one.ids}: not the requested image")
    return len(verdict.violations) == before


def _check_error(one: CallerRequest, body: dict[str, object], verdict: Verdict) -> None:
    """Check that a failure has a valid reason."""
    reason = str(body.get("error", ""))
    is_fair = (
        ("die" in one.prompt and "3 attempts" in reason)
        or ("X-Run-Timeout" in one.headers and "longer" in reason)
        or "3 attempts" in reason
        or "could not store" in reason
    )
    if not is_fair:
        verdict.violation(f"{one.ids}: failed without a valid reason: {reason}")


def _listed(client: httpx.Client, keys: set[str]) -> Counter[str]:
    """Count how often each prediction appears in its key's history."""
    listed: Counter[str] = Counter()
    for key in keys:
        offset = 0
        while True:
            page = client.get(
                "/v1/executions",
                params={"limit": 100, "offset": offset},
                headers={"X-API-Key": key},
            ).json()
            listed.update(line["id"] for line in page["executions"])
            offset += 100
            if offset >= page["total_count"]:
                break
    return listed


def check_webhooks(receiver: Receiver, accepted: list[CallerRequest], verdict: Verdict) -> None:
    calls = defaultdict(list)
    for call in list(receiver.calls):
        calls[call.path.removeprefix("/")].append(call)
    delivered = attempts = 0
    for one in accepted:
        if not one.has_webhook or one.is_receiver_silent or one.first_final is None:
            continue
        received = calls.pop(one.idempotency_key, [])
        if one.first_final["status"] == "cancelled":
            if received:
                verdict.violation(f"{one.ids}: a webhook was sent for a cancel")
            continue
        attempts += len(received)
        if not received or not received[-1].is_answered_well:
            verdict.violation(f"{one.ids}: webhook not delivered in {len(received)} attempts")
            continue
        delivered += 1
        if len({(c.headers["webhook-id"], c.body) for c in received}) != 1:
            verdict.violation(f"{one.ids}: the bodies or ids of its webhooks differ")
        try:
            Webhook(SECRET).verify(received[-1].body, received[-1].headers)
        except WebhookVerificationError as exc:
            if "old" not in str(exc):
                verdict.violation(f"{one.ids}: its webhook does not verify: {exc}")
    verdict.row("webhooks delivered", f"{delivered} in {attempts} attempts")


def _check_rest(system: System, verdict: Verdict) -> None:
    with system.connect() as connection:
        open_now = connection.zcard(OPEN)
        ledger = connection.zrange(LEDGER, 0, -1)
    if open_now:
        verdict.violation(f"{open_now} predictions are still open")
    for prediction_id in ledger:
        verdict.violation(f"{prediction_id.decode()}: in the ledger, accepted without an end")
    folders = Counter(p.parent.parent.name for p in (system.folder / "outputs").glob("*/*/0.png"))
    verdict.row("output folders left by lost attempts", sum(folders.values()) - len(folders))


def percentile(values: list[float], q: int) -> float:
    """Return the q-th percentile, also of few values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1]
