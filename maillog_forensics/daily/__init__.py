"""The scheduled daily report: what is new is taken in, each day gets its page, and who asked for it gets a digest by mail."""
