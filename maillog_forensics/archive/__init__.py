"""The archive of events: exactly once, crash-safe, no server. See docs/daily.md for its layout."""
