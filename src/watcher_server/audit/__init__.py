"""Who changed what: a row for each change of the configuration, written in the transaction of the change."""
