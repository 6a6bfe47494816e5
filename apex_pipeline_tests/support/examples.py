"""How many examples property tests try: few in a quick run, many in a thorough one.

The thorough one: `pytest -m hypothesis --hypothesis-profile thorough`.
"""

from hypothesis import HealthCheck, settings

_THOROUGH = "thorough"
_FEW = 30
_TIMES_MORE = 4

# On a busy machine an example takes long, and so does making one up.
_PATIENT = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        # What they share, each test puts into its first state itself.
        HealthCheck.function_scoped_fixture,
    ],
)


def choose_few() -> None:
    """Try few, unless the command line chooses otherwise."""
    settings.register_profile(_THOROUGH, _PATIENT, max_examples=_FEW * _TIMES_MORE)
    settings.register_profile("quick", _PATIENT, max_examples=_FEW)
    settings.load_profile("quick")


def examples(few: int) -> settings:
    """For a test whose examples cost more than most: so many in a quick run."""
    is_thorough = settings.get_current_profile_name() == _THOROUGH
    return settings(max_examples=few * (_TIMES_MORE if is_thorough else 1))
