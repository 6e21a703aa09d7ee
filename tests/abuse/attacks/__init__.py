"""The attacks, one file a kind. Each file lists its attacks in ATTACKS."""

from tests.abuse.attacks import bodies, floods, images, queue, records, routes, uploads, webhooks
from tests.abuse.attacks.attack import Attack

ATTACKS: tuple[Attack, ...] = (
    *bodies.ATTACKS,
    *images.ATTACKS,
    *records.ATTACKS,
    *webhooks.ATTACKS,
    *uploads.ATTACKS,
    *queue.ATTACKS,
    *routes.ATTACKS,
    *floods.ATTACKS,
)
