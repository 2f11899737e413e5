-- Ads, events, totals, and how far each Kafka partition has been counted.

CREATE TABLE ads (
    ad_id      bigint      PRIMARY KEY CHECK (ad_id BETWEEN 1 AND 9007199254740991),
    image_url  text        NOT NULL,
    target_url text        NOT NULL,
    active     boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  ads            IS 'Registered ads. An ad is never deleted: events of an ad that is not here are not counted';
COMMENT ON COLUMN ads.ad_id      IS 'The ad, 1 to 2^53 - 1';
COMMENT ON COLUMN ads.image_url  IS 'What the player shows';
COMMENT ON COLUMN ads.target_url IS 'Where a click leads';
COMMENT ON COLUMN ads.active     IS 'Whether GET /ads lists it; an inactive ad still counts';
COMMENT ON COLUMN ads.created_at IS 'When it was registered';

-- Time comes first in the primary key: the index then grows at its warm right edge. It also is the
-- partition key, so that a day's table holds every duplicate of its events.
CREATE TABLE clicks (
    dedup_time      timestamptz NOT NULL,
    dedup_key       uuid        NOT NULL,
    ad_id           bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    address         inet,
    playback_ms     integer,
    event_id        text,
    user_agent      text,
    kafka_partition integer     NOT NULL,
    kafka_offset    bigint      NOT NULL,
    PRIMARY KEY (dedup_time, dedup_key)
) PARTITION BY RANGE (dedup_time);
COMMENT ON TABLE  clicks                 IS 'Every click, once. Partitioned by day (UTC) of dedup_time';
COMMENT ON COLUMN clicks.dedup_time      IS 'The player''s timestamp, truncated to the dedup window';
COMMENT ON COLUMN clicks.dedup_key       IS '128 bits that are the same for the same event, computed at ingest';
COMMENT ON COLUMN clicks.ad_id           IS 'The ad';
COMMENT ON COLUMN clicks.occurred_at     IS 'When it happened, by the player''s clock';
COMMENT ON COLUMN clicks.received_at     IS 'When it was received, by the ingest service''s clock';
COMMENT ON COLUMN clicks.address         IS 'The viewer''s address; null where none is kept';
COMMENT ON COLUMN clicks.playback_ms     IS 'Milliseconds into the video; null where the player did not say';
COMMENT ON COLUMN clicks.event_id        IS 'The player''s own id of the event; null where it sent none';
COMMENT ON COLUMN clicks.user_agent      IS 'What the player said it was; null where it said nothing';
COMMENT ON COLUMN clicks.kafka_partition IS 'Kafka partition it was read from; with the ad, the row of ad_totals it counts in';
COMMENT ON COLUMN clicks.kafka_offset    IS 'Kafka offset it was read from';

CREATE TABLE impressions (LIKE clicks INCLUDING ALL) PARTITION BY RANGE (dedup_time);
COMMENT ON TABLE impressions IS 'Every impression, once. Partitioned by day (UTC) of dedup_time';

-- The fence of the counting transaction updates these rows in place, many times a second: room in
-- each page keeps that update off the index.
CREATE TABLE consumer_offsets (
    topic             text    NOT NULL,
    kafka_partition   integer NOT NULL CHECK (kafka_partition >= 0),
    kind              text    NOT NULL CHECK (kind IN ('click', 'impression')),
    next_offset       bigint  NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
    last_timestamp_ms bigint,
    last_hash         bytea,
    PRIMARY KEY (topic, kafka_partition),
    -- Rows of events say their partition, not their topic, so each kind comes from one topic.
    UNIQUE (kind, kafka_partition)
) WITH (fillfactor = 20);
COMMENT ON TABLE  consumer_offsets                   IS 'How far each Kafka partition has been counted. This, not Kafka''s committed offset, says where reading starts';
COMMENT ON COLUMN consumer_offsets.topic             IS 'Kafka topic';
COMMENT ON COLUMN consumer_offsets.kafka_partition   IS 'Kafka partition';
COMMENT ON COLUMN consumer_offsets.kind              IS 'What the topic carries';
COMMENT ON COLUMN consumer_offsets.next_offset       IS 'The first offset that is not counted yet';
COMMENT ON COLUMN consumer_offsets.last_timestamp_ms IS 'Kafka timestamp of the last counted record, milliseconds since 1970; null before the first';
COMMENT ON COLUMN consumer_offsets.last_hash         IS 'SHA-256 of the last counted record, by which a topic that was made again is recognised; null before the first';

CREATE TABLE partition_ledger (
    topic           text    NOT NULL,
    kafka_partition integer NOT NULL,
    stored          bigint  NOT NULL DEFAULT 0,
    duplicates      bigint  NOT NULL DEFAULT 0,
    dead            bigint  NOT NULL DEFAULT 0,
    absent          bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, kafka_partition)
) WITH (fillfactor = 20);
COMMENT ON TABLE  partition_ledger                 IS 'What became of every offset below next_offset: stored + duplicates + dead + absent = next_offset';
COMMENT ON COLUMN partition_ledger.topic           IS 'Kafka topic';
COMMENT ON COLUMN partition_ledger.kafka_partition IS 'Kafka partition';
COMMENT ON COLUMN partition_ledger.stored          IS 'Records that became a row';
COMMENT ON COLUMN partition_ledger.duplicates      IS 'Records of an event that had its row already';
COMMENT ON COLUMN partition_ledger.dead            IS 'Records that can never count, now in the dead-letter topic';
COMMENT ON COLUMN partition_ledger.absent          IS 'Offsets at which Kafka holds no record (transaction markers, compaction)';

CREATE TABLE ad_totals (
    topic           text    NOT NULL,
    kafka_partition integer NOT NULL,
    ad_id           bigint  NOT NULL,
    events          bigint  NOT NULL CHECK (events >= 0),
    PRIMARY KEY (topic, kafka_partition, ad_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE  ad_totals                 IS 'Events of each ad from each Kafka partition; by partition, so that consumers never wait for each other';
COMMENT ON COLUMN ad_totals.topic           IS 'Kafka topic';
COMMENT ON COLUMN ad_totals.kafka_partition IS 'Kafka partition';
COMMENT ON COLUMN ad_totals.ad_id           IS 'The ad';
COMMENT ON COLUMN ad_totals.events          IS 'Rows of clicks (or impressions) with this ad and partition';

CREATE TABLE projection_epoch (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    epoch      uuid        NOT NULL,
    reason     text        NOT NULL,
    renewed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  projection_epoch            IS 'One row. What Redis holds counts only where it carries this epoch';
COMMENT ON COLUMN projection_epoch.one        IS 'Always true: keeps the table at one row';
COMMENT ON COLUMN projection_epoch.epoch      IS 'A random value that was never used before; a counter would repeat itself after a restore';
COMMENT ON COLUMN projection_epoch.reason     IS 'Why it was renewed';
COMMENT ON COLUMN projection_epoch.renewed_at IS 'When it was renewed';
INSERT INTO projection_epoch (epoch, reason) VALUES (gen_random_uuid(), 'made');

-- The table is made beside its parent and then attached: unlike CREATE … PARTITION OF, that does
-- not lock readers and writers of the parent out.
CREATE FUNCTION make_day_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || to_char(day, '_YYYYMMDD');
BEGIN
    IF parent NOT IN ('clicks', 'impressions') THEN
        RAISE EXCEPTION 'no such event table: %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('make_day_partition'));
    -- A query, and not to_regclass(): that may answer from a cache which does not know yet what was
    -- committed while this waited for the lock. A table of that name that is not attached does not
    -- serve: making another one fails below, and says so.
    IF EXISTS (
        SELECT FROM pg_inherits
        JOIN pg_class AS made ON made.oid = inhrelid
        WHERE inhparent = parent::regclass AND made.relname = child
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, child, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
END
$$;
COMMENT ON FUNCTION make_day_partition IS 'Makes the table of one day (UTC) of clicks or impressions; false where it is there already';

-- Made by the tool that runs these migrations, before the first of them.
COMMENT ON TABLE  refinery_schema_history            IS 'The migrations that were applied to this database';
COMMENT ON COLUMN refinery_schema_history.version    IS 'Number of the migration';
COMMENT ON COLUMN refinery_schema_history.name       IS 'Name of the migration';
COMMENT ON COLUMN refinery_schema_history.applied_on IS 'When it was applied, RFC 3339';
COMMENT ON COLUMN refinery_schema_history.checksum   IS 'Hash of the migration as it was applied; one that has changed since is refused';
