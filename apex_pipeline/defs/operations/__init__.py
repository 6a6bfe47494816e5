"""Jobs for operators: status, doctor, provisioning, recording, report, purge."""
