"""A Dataverse Web API on one machine: tokens, bulk writes, limits, faults.

It shares no code with any client, so the two agree only by the wire. In a test:

    from apex_pipeline.emulator import serve

    @pytest.fixture(scope="session")
    def dataverse():
        with serve() as emulator:
            yield emulator     # .url .ca_bundle .tenant_id .client_id .client_secret

Beside the environment, at `/graph`, stand two things of Microsoft Graph: `sendMail` in
MIME format, which `.mail()` shows, and an application's registration.

As a process of its own: `python -m apex_pipeline.emulator --help`.

What it does not do answers 501, with a Dataverse error body that names it; `surface`
lists what it does. Left out without a trace: plug-ins, workflows, duplicate detection,
auditing, teams, sharing, more than one business unit. Definitions change at once; on
the service an update waits to be published.

Each rule's docstring names its source. Where it says chosen, the documentation leaves
the matter open and a real organization may differ.
"""

from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.instance import Options
from apex_pipeline.emulator.latency import PROFILES
from apex_pipeline.emulator.limits import UserLimits
from apex_pipeline.emulator.served_emulator import ServedEmulator, serve

__all__ = ["PROFILES", "Clock", "Options", "ServedEmulator", "UserLimits", "serve"]
