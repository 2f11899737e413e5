//! Decides for each dead letter whether it can be put back, and where.

use std::collections::HashSet;

use click_store::{Pool, StoreError, ads, events};
use proto_schemas::{AdEvent, AdId, Kind, Topics};

use crate::dead::{Letter, seen::Seen};

/// Reasons that may have gone by themselves: the ad is registered by now, or the topic is another.
const MENDED_BY_REPLAY: [&str; 2] = ["unknown_ad", "wrong_topic"];

/// What is to be done with a letter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// To be put on this topic.
    Send { topic: String },
    /// The event is stored.
    Stored,
    /// Another letter holds the same event.
    Repeated,
    /// Nobody has registered the ad yet.
    UnknownAd(AdId),
    /// It would die again as it is, and nobody has named it.
    WouldDieAgain,
    /// Its value was left out.
    NoValue,
    /// Its origin is no topic of this pipeline.
    NotOurs,
}

/// What is known for judging.
pub(super) struct Judge {
    topics: Topics,
    registered: HashSet<AdId>,
    /// Whether letters that would die again are left alone.
    careful: bool,
    seen: Seen,
}

impl Judge {
    /// Asks which ads are registered now.
    pub(super) async fn new(
        pool: &Pool,
        topics: Topics,
        careful: bool,
    ) -> Result<Self, StoreError> {
        let registered = ads::list(pool).await?.into_iter().map(|it| it.id).collect();
        Ok(Self { topics, registered, careful, seen: Seen::default() })
    }

    /// Judges `letters`, in their order.
    pub(super) async fn judge(
        &mut self,
        pool: &Pool,
        letters: &[Letter],
    ) -> Result<Vec<Verdict>, StoreError> {
        let mut stored = HashSet::new();
        for kind in Kind::ALL {
            let events: Vec<&AdEvent> = letters
                .iter()
                .filter_map(|it| it.event.as_ref())
                .filter(|it| it.kind == kind)
                .collect();
            if !events.is_empty() {
                stored.extend(events::stored(pool, kind, events.into_iter()).await?);
            }
        }
        Ok(letters
            .iter()
            .map(|letter| {
                if letter.event.as_ref().is_some_and(|it| stored.contains(&it.dedup_key)) {
                    return Verdict::Stored;
                }
                self.judge_one(letter)
            })
            .collect())
    }

    /// Judges a letter that is not stored.
    fn judge_one(&mut self, letter: &Letter) -> Verdict {
        let Some(value) = &letter.value else { return Verdict::NoValue };
        if self.topics.kind_of(&letter.origin.topic).is_none() {
            return Verdict::NotOurs;
        }
        if self.careful && !MENDED_BY_REPLAY.contains(&&*letter.reason) {
            return Verdict::WouldDieAgain;
        }
        let topic = match &letter.event {
            // The consumer would not count it either.
            Some(event) if !self.registered.contains(&event.ad_id) => {
                return Verdict::UnknownAd(event.ad_id);
            }
            // Not the topic of origin where that carries the other kind.
            Some(event) => self.topics.of(event.kind),
            None => &letter.origin.topic,
        };
        // The same event may have died several times, each time of another origin. One that was
        // replayed before what killed it was mended has two letters now, and would have four next.
        if !self.seen.is_new(&(topic, value)) {
            return Verdict::Repeated;
        }
        Verdict::Send { topic: topic.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proto_schemas::{DedupWindow, NewEvent, Timestamp};

    use super::*;
    use crate::dead::Origin;

    fn judge(careful: bool) -> Judge {
        let registered = [AdId::new(1).expect("in range")].into();
        Judge { topics: Topics::new(""), registered, careful, seen: Seen::default() }
    }

    fn letter(reason: &str, ad: u64) -> Letter {
        let at = Timestamp::from_micros(1_744_736_100_000_000).expect("in range");
        let event = NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(ad).expect("in range"),
            occurred_at: at,
            received_at: at,
            address: Ipv4Addr::LOCALHOST.into(),
            playback_ms: None,
            event_id: None,
            user_agent: None,
        }
        .into_event(DedupWindow::MILLISECOND);
        Letter {
            origin: Origin { topic: "ad-clicks".to_owned(), partition: 0, offset: 1 },
            reason: reason.to_owned(),
            detail: String::new(),
            died_at: None,
            key: None,
            value: Some(event.encode()),
            event: Some(event),
        }
    }

    fn on(topic: &str) -> Verdict {
        Verdict::Send { topic: topic.to_owned() }
    }

    #[test]
    fn an_event_is_put_back_once_and_only_where_its_ad_is_registered() {
        let mut judge = judge(true);
        let (known, unknown) = (letter("unknown_ad", 1), letter("unknown_ad", 2));
        let mut again = known.clone();
        again.origin.offset = 9;

        assert_eq!(judge.judge_one(&known), on("ad-clicks"));
        assert_eq!(judge.judge_one(&again), Verdict::Repeated);
        let ad = AdId::new(2).expect("in range");
        assert_eq!(judge.judge_one(&unknown), Verdict::UnknownAd(ad));
    }

    #[test]
    fn what_would_die_again_is_put_back_only_where_it_is_named() {
        for reason in ["too_old", "too_far_ahead", "refused", "undecodable"] {
            assert_eq!(judge(true).judge_one(&letter(reason, 1)), Verdict::WouldDieAgain);
            assert_eq!(judge(false).judge_one(&letter(reason, 1)), on("ad-clicks"));
        }
    }

    #[test]
    fn an_event_on_the_wrong_topic_goes_to_that_of_its_kind() {
        let mut misplaced = letter("wrong_topic", 1);
        misplaced.origin.topic = "ad-impressions".to_owned();

        assert_eq!(judge(true).judge_one(&misplaced), on("ad-clicks"));
    }

    #[test]
    fn what_has_no_value_or_comes_from_elsewhere_cannot_be_put_back() {
        let mut empty = letter("undecodable", 1);
        (empty.value, empty.event) = (None, None);
        let mut foreign = letter("unknown_ad", 1);
        foreign.origin.topic = "other-ad-clicks".to_owned();

        assert_eq!(judge(false).judge_one(&empty), Verdict::NoValue);
        assert_eq!(judge(false).judge_one(&foreign), Verdict::NotOurs);
    }
}
