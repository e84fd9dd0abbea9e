"""The pages of who is told: channels, routes and calendars, windows."""
