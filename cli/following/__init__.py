"""`cacah follow` and `cacah listen`: KPU's feed taken over exactly once, or passed on."""
