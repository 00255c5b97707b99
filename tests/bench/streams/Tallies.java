import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

/**
 * The peer: the topic population.events folded to the tallies of one election's villages by Kafka
 * Streams, exactly once (v2), with its state in RocksDB and in changelog topics.
 *
 * <p>Arguments: bootstrap, number of events, state directory, polling day, area, minimum age,
 * first_time_since. Prints one line of JSON: seconds from the start and from the first event to the
 * last delta added up, and the tallies.
 */
public final class Tallies {
    private static final String RESIDENTS = "residents";
    private static final String TALLIES = "tallies";
    private static final ObjectMapper JSON = new ObjectMapper();

    private static final AtomicLong FOLDED = new AtomicLong();
    private static final AtomicLong FORWARDED = new AtomicLong();
    private static final AtomicLong ADDED = new AtomicLong();
    private static final AtomicLong FIRST_AT = new AtomicLong();

    /** Keeps each resident's facts and says what an event adds to which village. */
    private static final class ResidentFold implements Processor<String, byte[], String, Bytes> {
        private final Election election;
        private ProcessorContext<String, Bytes> context;
        private KeyValueStore<String, byte[]> residents;

        ResidentFold(Election election) {
            this.election = election;
        }

        @Override
        public void init(ProcessorContext<String, Bytes> context) {
            this.context = context;
            this.residents = context.getStateStore(RESIDENTS);
        }

        @Override
        public void process(Record<String, byte[]> record) {
            if (record.key() == null) {
                return; // "published up to": no event
            }
            FIRST_AT.compareAndSet(0, System.nanoTime());
            try {
                fold(record);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private void fold(Record<String, byte[]> record) throws IOException {
            JsonNode event = JSON.readTree(record.value());
            byte[] kept = residents.get(record.key());
            ArrayNode facts = kept == null ? JSON.createArrayNode() : (ArrayNode) JSON.readTree(kept);
            if (!facts.isEmpty() && facts.get(facts.size() - 1).get("position").asLong() >= event.get("position").asLong()) {
                return; // a repeat
            }
            List<JsonNode> before = new ArrayList<>();
            facts.forEach(before::add);
            ObjectNode fact = JSON.createObjectNode();
            for (String name : new String[] {"position", "type", "source", "id", "data"}) {
                fact.set(name, event.get(name));
            }
            facts.add(fact);
            residents.put(record.key(), JSON.writeValueAsBytes(facts));
            List<JsonNode> after = new ArrayList<>(before);
            after.add(fact);
            forward(record, Standing.of(Life.of(before), election), Standing.of(Life.of(after), election));
            FOLDED.incrementAndGet();
        }

        private void forward(Record<String, byte[]> record, Standing before, Standing after) {
            if (before.equals(after)) {
                return;
            }
            if (before.village() != null && before.village().equals(after.village())) {
                forward(record, before.village(), minus(after.counts(), before.counts()));
                return;
            }
            if (before.village() != null) {
                forward(record, before.village(), minus(new int[Life.COUNTS], before.counts()));
            }
            if (after.village() != null) {
                forward(record, after.village(), after.counts());
            }
        }

        private void forward(Record<String, byte[]> record, String village, int[] counts) {
            FORWARDED.incrementAndGet();
            context.forward(record.withKey(village).withValue(written(counts)));
        }
    }

    /** Where a resident is counted and as what; nowhere if the village is null. */
    private record Standing(String village, int[] counts) {
        static Standing of(Life life, Election election) {
            int[] counts = life == null ? null : life.counts(election);
            return new Standing(counts == null ? null : life.village(election.pollingDay()), counts);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Standing standing
                    && Objects.equals(village, standing.village)
                    && Arrays.equals(counts, standing.counts);
        }

        @Override
        public int hashCode() {
            return Objects.hash(village, Arrays.hashCode(counts));
        }
    }

    private static int[] minus(int[] a, int[] b) {
        int[] difference = new int[Life.COUNTS];
        for (int n = 0; n < Life.COUNTS; n++) {
            difference[n] = a[n] - b[n];
        }
        return difference;
    }

    private static Bytes written(int[] counts) {
        ByteBuffer buffer = ByteBuffer.allocate(4 * Life.COUNTS);
        for (int count : counts) {
            buffer.putInt(count);
        }
        return Bytes.wrap(buffer.array());
    }

    private static Bytes added(Bytes tally, Bytes delta) {
        ADDED.incrementAndGet();
        ByteBuffer sum = ByteBuffer.allocate(4 * Life.COUNTS);
        ByteBuffer a = ByteBuffer.wrap(tally.get());
        ByteBuffer b = ByteBuffer.wrap(delta.get());
        for (int n = 0; n < Life.COUNTS; n++) {
            sum.putInt(a.getInt() + b.getInt());
        }
        return Bytes.wrap(sum.array());
    }

    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[1]);
        Election election =
                new Election(
                        LocalDate.parse(arguments[3]),
                        arguments[4],
                        Integer.parseInt(arguments[5]),
                        LocalDate.parse(arguments[6]));
        StreamsBuilder builder = new StreamsBuilder();
        Serde<String> text = Serdes.String();
        builder.addStateStore(
                Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(RESIDENTS), text, Serdes.ByteArray()));
        builder.stream("population.events", Consumed.with(text, Serdes.ByteArray()))
                .process(() -> new ResidentFold(election), RESIDENTS)
                .groupByKey(Grouped.with("villages", text, Serdes.Bytes()))
                .aggregate(
                        () -> Bytes.wrap(new byte[4 * Life.COUNTS]),
                        (village, delta, tally) -> added(tally, delta),
                        Materialized.<String, Bytes, KeyValueStore<Bytes, byte[]>>as(TALLIES)
                                .withKeySerde(text)
                                .withValueSerde(Serdes.Bytes()));

        Properties settings = new Properties();
        // Of its own for each run: another would go on where the one before ended.
        settings.put(
                StreamsConfig.APPLICATION_ID_CONFIG,
                "streams-peer-" + Path.of(arguments[2]).getFileName());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        settings.put("auto.offset.reset", "earliest");

        long startedAt = System.nanoTime();
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    System.exit(1);
                    return null;
                });
        streams.start();
        while (FOLDED.get() < events || ADDED.get() < FORWARDED.get()) {
            Thread.sleep(20);
        }
        long endedAt = System.nanoTime();
        System.out.println(JSON.writeValueAsString(result(streams, startedAt, endedAt)));
        streams.close(Duration.ofSeconds(30));
        System.exit(0);
    }

    private static ObjectNode result(KafkaStreams streams, long startedAt, long endedAt) {
        ObjectNode result = JSON.createObjectNode();
        result.put("seconds", (endedAt - startedAt) / 1e9);
        result.put("seconds_from_first", (endedAt - FIRST_AT.get()) / 1e9);
        ObjectNode villages = result.putObject("tallies");
        var store =
                streams.store(
                        StoreQueryParameters.fromNameAndType(
                                TALLIES, QueryableStoreTypes.<String, Bytes>keyValueStore()));
        try (var rows = store.all()) {
            rows.forEachRemaining(
                    row -> {
                        ArrayNode counts = villages.putArray(row.key);
                        ByteBuffer buffer = ByteBuffer.wrap(row.value.get());
                        for (int n = 0; n < Life.COUNTS; n++) {
                            counts.add(buffer.getInt());
                        }
                    });
        }
        return result;
    }
}
