"""The pages of incidents: what is wrong, who has it, and one incident whole."""
