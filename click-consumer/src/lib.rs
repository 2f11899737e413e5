//! Counts events from Kafka once each.
