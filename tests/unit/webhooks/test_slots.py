"""Tests of the limits of deliveries in progress."""

from app.webhooks.lines import TakenDelivery
from app.webhooks.slots import BURST_S, CONCURRENT_PER_KEY, CONCURRENT_PER_RECEIVER, Slots

ADDRESS = frozenset({"192.0.2.1 443"})


def taken(number=0, key_id="key", host="a.test"):
    return TakenDelivery(id=f"p{number}", key_id=key_id, host=host)


def test_line_and_key_are_busy_at_their_limits():
    """A line is busy at the limit of a receiver, and a key at its own. Both are free again at the end."""
    slots = Slots(per_second=1000)
    for number in range(CONCURRENT_PER_RECEIVER):
        assert slots.start(taken(number))
    assert slots.busy(0) == ["key a.test"]
    for number in range(CONCURRENT_PER_RECEIVER):
        assert slots.start(taken(number, host="b.test"))
    assert slots.busy(0) == ["key", "key a.test", "key b.test"]
    assert not slots.start(taken(CONCURRENT_PER_KEY, host="c.test"))

    for host in ("a.test", "b.test"):
        for number in range(CONCURRENT_PER_RECEIVER):
            slots.end(taken(number, host=host))
    assert slots.busy(0) == []


def test_address_has_slots_for_each_key():
    """The names of one address share its slots. Another key has its own."""
    slots = Slots(per_second=1000)
    for number in range(CONCURRENT_PER_RECEIVER):
        assert slots.reserve(taken(host=f"{number}.test"), ADDRESS, 0)

    assert not slots.reserve(taken(host="other.test"), ADDRESS | {"192.0.2.2 443"}, 0)
    assert slots.reserve(taken(key_id="victim"), ADDRESS, 0)
    slots.unreserve(taken(host="0.test"), ADDRESS)
    assert slots.reserve(taken(host="other.test"), ADDRESS, 0)


def test_key_is_busy_at_its_rate():
    """A key starts the burst of its rate, and then one delivery each interval."""
    slots = Slots(per_second=2)
    started_at: list[float] = []
    for half_second in range(40):
        now = half_second / 2
        while "key" not in slots.busy(now):
            delivery = taken(len(started_at))
            assert slots.start(delivery)
            assert slots.reserve(delivery, ADDRESS, now)
            slots.unreserve(delivery, ADDRESS)
            slots.end(delivery)
            started_at.append(now)

    assert started_at.count(0.0) == 2 * BURST_S + 1
    assert all(started_at.count(k / 2) == 1 for k in range(1, 40))


def test_blocked_line_is_busy_for_a_while():
    """A blocked line is busy until its time. Other lines of the key are not."""
    slots = Slots(per_second=1000)
    slots.block(taken(), 1.0)

    assert slots.busy(0.5) == ["key a.test"]
    assert slots.busy(1.0) == []
