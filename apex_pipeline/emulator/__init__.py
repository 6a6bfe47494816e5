"""A local Dataverse Web API; shares no code with the client, so they agree only by wire."""
