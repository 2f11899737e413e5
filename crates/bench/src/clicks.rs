//! Clicks that are all different, and the addresses that they come from.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Context as _;
use proto_schemas::{
    AdEvent, AdId, DedupWindow, EventId, Kind, NewEvent, Timestamp, UserAgent, headers,
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

/// What a phone sends.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
     (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

/// An endless row of clicks. Two with different seeds have none in common.
pub(crate) struct Clicks {
    random: StdRng,
    ads: u64,
    window: DedupWindow,
}

impl Clicks {
    /// Clicks on ads 1 to `ads`, each as likely as the others.
    pub(crate) fn new(ads: u64, seed: u64) -> Self {
        let window = DedupWindow::new(Duration::from_millis(1)).expect("the default");
        Self { random: StdRng::seed_from_u64(seed), ads, window }
    }

    /// Appends the next click as JSON, of the size that a player's click has.
    pub(crate) fn write_json(&mut self, out: &mut Vec<u8>) {
        let (ad, id) = (self.ad(), self.id());
        let now = headers::rfc3339(Timestamp::now());
        let playback = self.random.random_range(0..36_000);
        let (seconds, tenth) = (playback / 10, playback % 10);
        let json = format!(
            r#"{{"ad_id":{ad},"timestamp":"{now}","event_id":"{id}","playback_time":{seconds}.{tenth}}}"#
        );
        out.extend_from_slice(json.as_bytes());
    }

    /// The next click as it is on the topic.
    pub(crate) fn event(&mut self) -> anyhow::Result<AdEvent> {
        let now = Timestamp::now();
        let event = NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(self.ad()).context("an ad id")?,
            occurred_at: now,
            received_at: now,
            address: self.address().into(),
            playback_ms: Some(self.random.random_range(0..3_600_000)),
            event_id: Some(EventId::new(self.id().to_string())?),
            user_agent: UserAgent::from_header(USER_AGENT.as_bytes()),
        };
        Ok(event.into_event(self.window))
    }

    /// An address that a viewer may have; nearly every one is new, as most viewers click once.
    pub(crate) fn address(&mut self) -> Ipv4Addr {
        loop {
            let address = Ipv4Addr::from(self.random.next_u32());
            let [first, ..] = address.octets();
            let public = (1..224).contains(&first) && !matches!(first, 10 | 127);
            if public && !address.is_private() {
                return address;
            }
        }
    }

    fn ad(&mut self) -> u64 {
        self.random.random_range(1..=self.ads)
    }

    fn id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }
}
