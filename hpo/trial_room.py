"""How much memory a trial needs, and how much this machine has for trials."""

from collections.abc import Sequence

from budgets.memory import CARD_HOST_BYTES
from budgets.placement import usable_card, usable_ram
from hpo.claims import Claim
from hpo.machine import machine_cards, own_processes, read_cards, read_machine
from hpo.memory_room import Share, Usable
from studies.batches import batch_plan
from studies.memory import stored_estimate


def needed_by(claim: Claim) -> Share:
    """Return what the trial is estimated to take; nothing where its model was never counted."""
    plan = batch_plan(claim.params, claim.spec.training)
    estimate = stored_estimate(claim.prepared.get("sizes", {}), claim.params, plan)
    if estimate is None:
        return Share(0)
    return Share(CARD_HOST_BYTES, estimate.on_card) if read_cards() else Share(estimate.total)


def usable_at_least() -> Usable:
    """Return what all trials of this machine may take beyond what they have taken: quick to be had, in 1 ms."""
    return _usable(())


def usable_here() -> Usable:
    """Return what all trials of this machine may take together, with head-room.

    Every process of this service is looked at: with 64 workers that takes a second.
    """
    return _usable(own_processes())


def _usable(own: Sequence[int]) -> Usable:
    readings = read_cards()
    cards = zip(readings, machine_cards(readings, own), strict=True)
    return Usable(usable_ram(read_machine(own=own)), {reading.uuid: usable_card(card) for reading, card in cards})
