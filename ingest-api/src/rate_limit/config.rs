//! Settings of the rate limits.

use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use proto_schemas::Kind;
use service_kit::settings::{Settings, Value, Vars, groups::Redis};

use super::{
    Limits,
    gcra::Limit,
    overrides::{Override, Overrides},
};

/// Who may send how much.
#[derive(Clone, Debug)]
pub struct RateLimitConfig {
    /// `RATE_LIMIT_MODE`: whether limits are enforced, only observed, or off. Defaults to `enforce`.
    pub(crate) mode: Mode,
    /// `RATE_LIMIT_PER_MINUTE` and `RATE_LIMIT_BURST`, both 10 by default;
    /// `RATE_LIMIT_PER_AD_PER_MINUTE` and `RATE_LIMIT_PER_AD_BURST`, for each ad apart: without the
    /// former there is no such limit, without the latter it is the former.
    pub(crate) clicks: Limits,
    /// `IMPRESSION_RATE_LIMIT_PER_MINUTE` and so on: the same for impressions, with 600 for 10.
    pub(crate) impressions: Limits,
    /// `RATE_LIMIT_OVERRIDES`: other limits for some networks, or none. Empty by default.
    pub overrides: Overrides,
    /// `RATE_LIMIT_MAX_KEYS`: how many addresses each limit is made to remember. Defaults to 500,000,
    /// which takes 16 MiB for each of clicks and impressions, and as much again for each where there
    /// is a limit for each ad.
    ///
    /// An address is remembered until its burst is whole again, a minute at most by default. Beyond
    /// some twice as many, addresses that are not yet known share allowances: some of them are then
    /// limited for what others did (see `ingest_rate_limiter_overflow_total`).
    pub max_keys: NonZeroUsize,
    /// `RATE_LIMIT_SHARED`: whether limits are shared with other processes, and in what. Defaults to
    /// `off`: each process has its own.
    pub shared: Option<SharedLimitConfig>,
}

/// Limits that several processes share.
#[derive(Clone, Debug)]
pub struct SharedLimitConfig {
    /// `REDIS_URL` and `REDIS_PREFIX`.
    pub redis: Redis,
    /// `RATE_LIMIT_REDIS_BUDGET`: how long Redis may take for an answer. Defaults to `20ms`.
    ///
    /// After that the process decides by itself; after five such answers in a row it asks once each
    /// second only.
    pub budget: Duration,
}

/// What becomes of an event that is over a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// It is refused with 429.
    Enforce,
    /// It is counted, and let through.
    Observe,
    /// Nothing is measured.
    Off,
}

impl Value for Mode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "observe" => Ok(Self::Observe),
            "off" => Ok(Self::Off),
            _ => Err("is none of enforce, observe and off".to_owned()),
        }
    }
}

/// Where limits are shared.
enum Place {
    Nowhere,
    Redis,
}

impl Value for Place {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Nowhere),
            "redis" => Ok(Self::Redis),
            _ => Err("is neither redis nor off".to_owned()),
        }
    }
}

impl Settings for RateLimitConfig {
    fn read(vars: &mut Vars) -> Self {
        Self {
            mode: vars.or(
                "RATE_LIMIT_MODE",
                "enforce",
                "`enforce`, `observe` (count what is over a limit, and let it pass) or `off`",
            ),
            clicks: clicks(vars),
            impressions: impressions(vars),
            overrides: vars.or(
                "RATE_LIMIT_OVERRIDES",
                "",
                "Networks with limits of their own: NETWORK=off, NETWORK=CLICKS, \
                 NETWORK=CLICKS:IMPRESSIONS, comma-separated, each limit as PER_MINUTE/BURST",
            ),
            max_keys: max_keys(vars),
            shared: shared(vars),
        }
    }
}

impl RateLimitConfig {
    /// The limits of everybody who has no other.
    pub(super) fn usual(&self, kind: Kind) -> Limits {
        match kind {
            Kind::Click => self.clicks,
            Kind::Impression => self.impressions,
        }
    }

    /// The limits of an address.
    pub(super) fn limits(&self, kind: Kind, address: IpAddr) -> Limits {
        let usual = self.usual(kind);
        match self.overrides.of(address) {
            None => usual,
            Some(Override::Off) => Limits::default(),
            Some(Override::Limits { clicks, impressions }) => {
                let limit = match kind {
                    Kind::Click => Some(clicks),
                    Kind::Impression => impressions.or(usual.address),
                };
                Limits { address: limit, ad: None }
            }
        }
    }
}

fn clicks(vars: &mut Vars) -> Limits {
    let per_minute = vars.or(
        "RATE_LIMIT_PER_MINUTE",
        "10",
        "How many clicks one address (IPv6: one /64) may post each minute in the long run",
    );
    let burst = vars.or(
        "RATE_LIMIT_BURST",
        "10",
        "How many clicks one address may post at once after it was silent",
    );
    let per_ad = vars.optional(
        "RATE_LIMIT_PER_AD_PER_MINUTE",
        "How many of them may be for the same ad; unset: as many as for all",
    );
    let burst_per_ad = vars.optional(
        "RATE_LIMIT_PER_AD_BURST",
        "How many of them may be for the same ad at once; unset: as many as each minute",
    );
    checked(
        vars,
        ["RATE_LIMIT_BURST", "RATE_LIMIT_PER_AD_BURST"],
        (per_minute, burst),
        (per_ad, burst_per_ad),
    )
}

fn impressions(vars: &mut Vars) -> Limits {
    let per_minute = vars.or(
        "IMPRESSION_RATE_LIMIT_PER_MINUTE",
        "600",
        "How many impressions one address (IPv6: one /64) may post each minute in the long run",
    );
    let burst = vars.or(
        "IMPRESSION_RATE_LIMIT_BURST",
        "600",
        "How many impressions one address may post at once after it was silent",
    );
    let per_ad = vars.optional(
        "IMPRESSION_RATE_LIMIT_PER_AD_PER_MINUTE",
        "How many of them may be of the same ad; unset: as many as of all",
    );
    let burst_per_ad = vars.optional(
        "IMPRESSION_RATE_LIMIT_PER_AD_BURST",
        "How many of them may be of the same ad at once; unset: as many as each minute",
    );
    let names = ["IMPRESSION_RATE_LIMIT_BURST", "IMPRESSION_RATE_LIMIT_PER_AD_BURST"];
    checked(vars, names, (per_minute, burst), (per_ad, burst_per_ad))
}

fn checked(
    vars: &mut Vars,
    burst_names: [&'static str; 2],
    (per_minute, burst): (NonZeroU32, NonZeroU32),
    (per_ad, burst_per_ad): (Option<NonZeroU32>, Option<NonZeroU32>),
) -> Limits {
    let address = Limit { per_minute, burst };
    let ad = per_ad.map(|it| Limit { per_minute: it, burst: burst_per_ad.unwrap_or(it) });
    for (name, limit) in burst_names.into_iter().zip([Some(address), ad]) {
        let fits = limit.is_none_or(|it| it.burst.get() <= Limit::MAX_BURST);
        vars.check(name, fits, format!("must be at most {}", Limit::MAX_BURST));
    }
    vars.check(
        burst_names[1],
        burst_per_ad.is_none() || ad.is_some(),
        "must not be set without the limit for each minute",
    );
    Limits { address: Some(address), ad }
}

fn max_keys(vars: &mut Vars) -> NonZeroUsize {
    let keys: NonZeroUsize = vars.or(
        "RATE_LIMIT_MAX_KEYS",
        "500000",
        "How many addresses each limit is made to remember; far beyond, new ones share allowances",
    );
    vars.check("RATE_LIMIT_MAX_KEYS", keys.get() <= 100_000_000, "must be at most 100000000");
    keys
}

fn shared(vars: &mut Vars) -> Option<SharedLimitConfig> {
    let place: Place = vars.or(
        "RATE_LIMIT_SHARED",
        "off",
        "`redis`: all processes share the limits; `off`: each process has its own",
    );
    let is_shared = matches!(place, Place::Redis);
    let redis = Redis::read_if(vars, is_shared);
    let budget = vars.or(
        "RATE_LIMIT_REDIS_BUDGET",
        "20ms",
        "How long Redis may take before a process decides about a limit by itself",
    );
    let range = Duration::from_millis(1)..=Duration::from_secs(1);
    vars.check("RATE_LIMIT_REDIS_BUDGET", range.contains(&budget), "must be from 1ms to 1s");
    is_shared.then(|| SharedLimitConfig { redis, budget })
}
