"""Operator jobs: status, doctor, provisioning, recording, report, purge."""
