"""`cacah compare` and `cacah supplement`: KPU's list beside what the feed has told."""
