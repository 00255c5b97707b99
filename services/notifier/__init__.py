"""KPU's feed: numbers the changes of every village's tally and hands them out without a gap."""
