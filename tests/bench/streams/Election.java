import java.time.LocalDate;

/** What the counts depend on besides the log. */
record Election(LocalDate pollingDay, String area, int minimumAge, LocalDate firstTimeSince) {}
