"""The REST and GraphQL API as `gh` asks it: from a connection to an answer."""
