"""A Dataverse Web API on one machine: tokens, bulk writes, limits, faults.

It shares no code with any client, so the two agree only by the wire. In a test:

    from apex_pipeline.emulator import serve

    @pytest.fixture(scope="session")
    def dataverse():
        with serve() as emulator:
            yield emulator     # .url .ca_bundle .tenant_id .client_id .client_secret

As a process of its own: `python -m apex_pipeline.emulator --help`.
"""

from apex_pipeline.emulator.environment import Clock
from apex_pipeline.emulator.instance import Options
from apex_pipeline.emulator.latency import PROFILES
from apex_pipeline.emulator.limits import Limits
from apex_pipeline.emulator.serving import ServedEmulator, serve

__all__ = ["PROFILES", "Clock", "Limits", "Options", "ServedEmulator", "serve"]
