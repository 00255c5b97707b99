import com.fasterxml.jackson.databind.JsonNode;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** What the standing facts of one resident amount to on polling day: contract sections 3 and 4. */
final class Life {
    /** The 14 counts, in the order of the contract. */
    static final int COUNTS = 14;

    private record Dated(LocalDate from, String value) {}

    private String sex;
    private String born;
    private String maritalStatus;
    private final List<Dated> residences = new ArrayList<>();
    private final List<Dated> services = new ArrayList<>();
    private final List<Dated> rights = new ArrayList<>();
    private final List<LocalDate> marriages = new ArrayList<>();
    private final List<LocalDate> deaths = new ArrayList<>();
    private final Set<String> lettersStarted = new HashSet<>();
    private final Set<String> lettersCompleted = new HashSet<>();
    private boolean recorded;
    private boolean ikdActive;

    /** None while no registration stands. */
    static Life of(List<JsonNode> facts) {
        Set<String> retracted = new HashSet<>();
        for (JsonNode fact : facts) {
            if (typeOf(fact).equals("event.retracted")) {
                JsonNode named = fact.get("data").get("retracts");
                retracted.add(named.get("source").asText() + "\n" + named.get("id").asText());
            }
        }
        Life life = null;
        for (JsonNode fact : facts) {
            if (!retracted.isEmpty()
                    && retracted.contains(fact.get("source").asText() + "\n" + fact.get("id").asText())) {
                continue;
            }
            if (typeOf(fact).equals("resident.registered")) {
                life = new Life();
            }
            if (life != null) {
                life.apply(typeOf(fact), fact.get("data"));
            }
        }
        return life;
    }

    private static String typeOf(JsonNode fact) {
        return fact.get("type").asText().substring("id.dukcapil.".length());
    }

    private void apply(String type, JsonNode data) {
        switch (type) {
            case "resident.registered" -> {
                correct(data);
                residences.add(new Dated(LocalDate.MIN, data.get("village").asText()));
                JsonNode service = data.get("service");
                services.add(new Dated(LocalDate.MIN, service == null ? "none" : service.asText()));
                rights.add(new Dated(LocalDate.MIN, "restored"));
            }
            case "ktp.recorded" -> recorded = true;
            case "ktp.failed" -> recorded = false;
            case "ikd.activated" -> ikdActive = true;
            case "relocation.started" -> lettersStarted.add(data.get("letter_no").asText());
            case "resident.relocated" -> {
                residences.add(new Dated(day(data, "effective_date"), data.get("to_village").asText()));
                lettersCompleted.add(data.get("letter_no").asText());
            }
            case "resident.married" -> marriages.add(day(data, "married_on"));
            case "resident.died" -> deaths.add(day(data, "died_on"));
            case "service.changed" ->
                services.add(new Dated(day(data, "effective_date"), data.get("service").asText()));
            case "rights.revoked" -> rights.add(new Dated(day(data, "effective_date"), "revoked"));
            case "rights.restored" -> rights.add(new Dated(day(data, "effective_date"), "restored"));
            case "biodata.corrected" -> correct(data);
            default -> { }
        }
    }

    private void correct(JsonNode data) {
        sex = data.has("sex") ? data.get("sex").asText() : sex;
        born = data.has("birth_date") ? data.get("birth_date").asText() : born;
        maritalStatus = data.has("marital_status") ? data.get("marital_status").asText() : maritalStatus;
    }

    private static LocalDate day(JsonNode data, String name) {
        return LocalDate.parse(data.get(name).asText());
    }

    /** The village of residence on a day. */
    String village(LocalDate day) {
        return heldOn(residences, day);
    }

    /** What this resident adds to the tally of their village, none where the election counts them nowhere. */
    int[] counts(Election election) {
        LocalDate day = election.pollingDay();
        String village = village(day);
        if (!(village.equals(election.area()) || village.startsWith(election.area() + "."))
                || deaths.stream().anyMatch(died -> !died.isAfter(day))) {
            return null;
        }
        LocalDate ofAge = anniversary(lastDay(born), election.minimumAge());
        boolean married = !maritalStatus.equals("B") || marriages.stream().anyMatch(on -> !on.isAfter(day));
        boolean underAge = ofAge.isAfter(day) && !married;
        String service = heldOn(services, day);
        boolean tni = !underAge && service.equals("tni");
        boolean polri = !underAge && service.equals("polri");
        boolean revoked = !underAge && !tni && !polri && heldOn(rights, day).equals("revoked");
        boolean eligible = !underAge && !tni && !polri && !revoked;
        boolean firstTime = eligible && !ofAge.isBefore(election.firstTimeSince());
        boolean relocating = !lettersCompleted.containsAll(lettersStarted);
        boolean[] labels = {
            true, eligible, eligible && sex.equals("L"), eligible && sex.equals("P"),
            eligible && recorded, eligible && !recorded, firstTime, firstTime && !recorded,
            ikdActive, relocating, underAge, tni, polri, revoked,
        };
        int[] counts = new int[COUNTS];
        for (int n = 0; n < COUNTS; n++) {
            counts[n] = labels[n] ? 1 : 0;
        }
        return counts;
    }

    private static String heldOn(List<Dated> history, LocalDate day) {
        Dated held = history.get(0);
        for (Dated entry : history) {
            if (!entry.from().isBefore(held.from()) && !entry.from().isAfter(day)) {
                held = entry;
            }
        }
        return held.value();
    }

    private static LocalDate lastDay(String written) {
        return switch (written.length()) {
            case 4 -> LocalDate.of(Integer.parseInt(written), 12, 31);
            case 7 -> LocalDate.parse(written + "-01").plusMonths(1).minusDays(1);
            default -> LocalDate.parse(written);
        };
    }

    private static LocalDate anniversary(LocalDate born, int years) {
        LocalDate day = born.plusYears(years);
        return day.getDayOfMonth() == born.getDayOfMonth() ? day : day.plusDays(1);
    }
}
