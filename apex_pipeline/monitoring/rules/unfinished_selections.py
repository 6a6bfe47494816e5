"""Rules: what ends an incident that no single run or tick would. Pure.

A failed run of several assets, or of checks, may be no job of ours: its incident names
what was selected, and perhaps nobody selects just that again. It ends once each of those
was materialized or evaluated since, by whatever runs.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from apex_pipeline.monitoring.alerts.notice import Observation
from apex_pipeline.monitoring.rules.catalogue import RUN_FAILED
from apex_pipeline.monitoring.rules.run_outcomes import CHECK_MARK, SEPARATOR

_PREFIX = f"{RUN_FAILED.name}/"


class UnfinishedSelections:
    """The open incidents of failed selections, and what each still lacks."""

    def __init__(
        self, open_now: Iterable[str], owed: Mapping[str, Sequence[str]]
    ) -> None:
        """Go on from what was stored.

        Args:
            open_now: Fingerprints of the open incidents. One that `owed` lacks, such as
                that of an older version, lacks all that it names.
            owed: What was `owed` after the last look.
        """
        selections = filter(is_of_selection, open_now)
        self._owed = {each: {*owed.get(each, _names(each))} for each in selections}

    @property
    def owed(self) -> dict[str, list[str]]:
        """Fingerprint to the assets and checks that are to be made good, for storing."""
        return {each: sorted(names) for each, names in self._owed.items()}

    def forget(self, known: Collection[str]) -> Iterator[Observation]:
        """Wait for no asset or check that the code location no longer has.

        Args:
            known: Names of those that it has.
        """
        yield from self._settle(
            {name for names in self._owed.values() for name in names} - {*known}
        )

    def follow(
        self, observed: Iterable[Observation], made_good: Collection[str]
    ) -> Iterator[Observation]:
        """Pass on what was observed of an event, and which incidents that ends.

        Args:
            observed: The observations.
            made_good: Names of the assets that the event shows to be materialized, and of
                the checks that it shows to be evaluated.
        """
        for each in observed:
            yield each
            for finding in filter(is_of_selection, _fingerprints(each)):
                # It failed again: what was made good before counts no more.
                self._owed[finding] = {*_names(finding)}
        yield from self._settle(made_good)

    def _settle(self, made_good: Collection[str]) -> Iterator[Observation]:
        for each, names in [*self._owed.items()]:
            names.difference_update(made_good)
            if not names:
                del self._owed[each]
                yield Observation(each)


def is_of_selection(fingerprint: str) -> bool:
    """Whether an incident is that of a run of several assets, or of checks."""
    rule, _, key = fingerprint.partition("/")
    return rule == RUN_FAILED.name and (SEPARATOR in key or CHECK_MARK in key)


def observe_gone(
    open_now: Iterable[str], known: Mapping[str, Collection[str]]
) -> Iterator[Observation]:
    """End the incidents of what the code location no longer has.

    Args:
        open_now: Fingerprints of the open incidents.
        known: Name of a rule to what its incidents may be about, as the second part of
            their fingerprints.
    """
    for each in open_now:
        rule, _, key = each.partition("/")
        if rule in known and key not in known[rule] and not is_of_selection(each):
            yield Observation(each)


def _fingerprints(observation: Observation) -> Iterator[str]:
    return (finding.fingerprint for finding in observation.findings)


def _names(fingerprint: str) -> list[str]:
    return fingerprint.removeprefix(_PREFIX).split(SEPARATOR)
