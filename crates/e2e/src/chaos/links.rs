//! The links from the services to Kafka, Postgres and Redis, and how they break.

use std::time::Duration;

use crate::{
    chaos::{deck::Step, stores::Stores},
    proxy::{Link, Proxy, Request},
    wait::let_last,
};

/// A server, as the services reach it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum To {
    Kafka,
    Postgres,
    Redis,
}

/// How a link breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkFault {
    Silent(To, Link),
    /// Every connection is cut at once.
    Cut(To),
    /// Each so-many-th request is carried out, and its answer never comes.
    AnswersLost(To),
}

/// One proxy in front of each server.
#[derive(Debug)]
pub(super) struct Links {
    kafka: Proxy,
    pub(super) postgres: Proxy,
    pub(super) redis: Proxy,
}

impl LinkFault {
    pub(super) fn all() -> Vec<Self> {
        let slow = Link::Delay(Duration::from_millis(50));
        let links = [Link::BlackHole, Link::HoldRequests, Link::HoldAnswers, slow];
        [To::Kafka, To::Postgres, To::Redis]
            .into_iter()
            .flat_map(|to| {
                let silent = links.map(|link| Self::Silent(to, link));
                silent.into_iter().chain([Self::Cut(to), Self::AnswersLost(to)])
            })
            .collect()
    }
}

impl Links {
    pub(super) async fn new(kafka: Proxy, stores: &Stores) -> Self {
        let postgres = Proxy::to(stores.postgres.port()).await;
        let redis = Proxy::to(stores.redis.port()).await;
        Self { kafka, postgres, redis }
    }

    pub(super) fn kafka_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka.port())
    }

    pub(super) async fn inject(&mut self, step: Step<LinkFault>) {
        match step.fault {
            LinkFault::Silent(to, link) => {
                self.proxy(to).set(link);
                let_last(step.lasting).await;
                self.proxy(to).set(Link::Pass);
            }
            LinkFault::Cut(to) => self.proxy(to).cut(),
            LinkFault::AnswersLost(to) => {
                let request = match to {
                    To::Kafka => Request::Produce,
                    To::Postgres => Request::Commit,
                    To::Redis => Request::Script,
                };
                self.proxy(to).lose_answers(request, 5);
                let_last(step.lasting).await;
                self.proxy(to).lose_none();
            }
        }
    }

    fn proxy(&self, to: To) -> &Proxy {
        match to {
            To::Kafka => &self.kafka,
            To::Postgres => &self.postgres,
            To::Redis => &self.redis,
        }
    }
}
