"""Prints every ad click once, as JSON lines. KAFKA_BROKERS, TOPIC and GROUP may be set."""
import collections, ipaddress, json, os, pathlib
from confluent_kafka import Consumer, KafkaException
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

schema = pathlib.Path(__file__).resolve().parents[2] / "proto-schemas" / "ad_event.binpb"
pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(schema.read_bytes()).file:
    pool.Add(file)
AdEvent = message_factory.GetMessageClass(pool.FindMessageTypeByName("ads.events.v1.AdEvent"))

consumer = Consumer({
    "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "127.0.0.1:19092"),
    "group.id": os.environ.get("GROUP", "my-data-team"),  # Kafka remembers how far it has read
    "auto.offset.reset": "earliest",  # the first time, begin with the oldest click
    "enable.auto.offset.store": False,  # a click counts as read once it is printed
})
consumer.subscribe([os.environ.get("TOPIC", "ad-clicks")])
seen = collections.OrderedDict()  # a duplicate further back than a million clicks comes again
try:
    while True:
        if (record := consumer.poll(1.0)) is None:
            continue
        if record.error():
            raise KafkaException(record.error())
        click = AdEvent.FromString(record.value())
        if click.dedup_key not in seen:
            address = str(ipaddress.ip_address(click.address)) if click.address else None
            print(json.dumps({"key": click.dedup_key.hex(), "ad": click.ad_id, "address": address,
                              "at_ms": click.occurred_at_us // 1000}), flush=True)
            seen[click.dedup_key] = None
            if len(seen) > 1_000_000:
                seen.popitem(last=False)
        consumer.store_offsets(record)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
