"""Who did what: an append-only, hash-chained trail of events in the metrics database.

Every act that changes what becomes of data leaves one event, in the transaction that
makes the act or that records it here. `events` holds what an event says, `chain` what it
proves.
"""
