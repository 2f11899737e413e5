//! The limits that this process keeps by itself.

use std::time::Instant;

use proto_schemas::{AdId, Kind};
use service_kit::http::AddressKey;

use super::{
    config::RateLimitConfig,
    gcra::{Left, Limit},
    metrics::LimitMetrics,
};
use crate::table::{Micros, Table};

/// What each address has used up, in memory that never grows.
#[derive(Debug)]
pub(super) struct Local {
    started: Instant,
    clicks: Tables,
    impressions: Tables,
}

#[derive(Debug)]
struct Tables {
    addresses: Table,
    /// None where there is no limit for each ad: memory is taken for what is used.
    ads: Option<Table>,
}

impl Local {
    pub(super) fn new(config: &RateLimitConfig, metrics: &LimitMetrics) -> Self {
        let keys = config.max_keys.get();
        let tables = |kind: Kind| Tables {
            addresses: Table::new(keys, metrics.overflow(kind)),
            ads: config.usual(kind).ad.map(|_| Table::new(keys, metrics.overflow(kind))),
        };
        Self {
            started: Instant::now(),
            clicks: tables(Kind::Click),
            impressions: tables(Kind::Impression),
        }
    }

    /// Takes one event of `address` off its allowance, and says what is left; an error where nothing
    /// was.
    pub(super) fn take_address(
        &self,
        kind: Kind,
        address: AddressKey,
        limit: Limit,
    ) -> Result<Left, Left> {
        take(&self.tables(kind).addresses, &address, limit, self.now())
    }

    /// The same of what `address` sends for one ad.
    pub(super) fn take_ad(
        &self,
        kind: Kind,
        address: AddressKey,
        ad: AdId,
        limit: Limit,
    ) -> Result<Left, Left> {
        match &self.tables(kind).ads {
            Some(table) => take(table, &(address, ad.get()), limit, self.now()),
            None => Ok(limit.left(0, 0)),
        }
    }

    /// How many keys are remembered.
    pub(super) fn keys(&self, kind: Kind) -> usize {
        let (tables, now) = (self.tables(kind), self.now());
        tables.addresses.len(now) + tables.ads.as_ref().map_or(0, |it| it.len(now))
    }

    fn tables(&self, kind: Kind) -> &Tables {
        match kind {
            Kind::Click => &self.clicks,
            Kind::Impression => &self.impressions,
        }
    }

    /// Monotonic: a clock that is set changes no limit. Not zero, which tables take for never.
    fn now(&self) -> Micros {
        Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX).max(1)
    }
}

fn take(
    table: &Table,
    key: &impl std::hash::Hash,
    limit: Limit,
    now: Micros,
) -> Result<Left, Left> {
    table.update(key, now, |whole_at| match limit.take(whole_at, now) {
        Ok(then) => (Ok(limit.left(then, now)), Some(then)),
        Err(left) => (Err(left), None),
    })
}
