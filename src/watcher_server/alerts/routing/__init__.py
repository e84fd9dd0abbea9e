"""Who is told of an alert, where and when: routes, calendars, windows, repeats, digests, caps."""
