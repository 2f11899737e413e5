//! Whether what a service needs answers it: `dependency_up`, for dashboards and alerts.
//!
//! Not the same as being ready: a service may be ready without a store that it can do without for a
//! while.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A store or a broker. Cloning shares the same state.
#[derive(Clone, Debug)]
pub struct Dependency(Gauge);

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Labels {
    dependency: &'static str,
}

impl Dependency {
    /// Adds `dependency_up` to `registry`, at 0 for each name until it is told otherwise.
    pub fn register<const N: usize>(
        registry: &mut Registry,
        names: [&'static str; N],
    ) -> [Self; N] {
        let family = Family::<Labels, Gauge>::default();
        registry.register(
            "dependency_up",
            "1 while what the service needs answers it",
            family.clone(),
        );
        names.map(|dependency| Self(family.get_or_create_owned(&Labels { dependency })))
    }

    /// Notes whether it answered when it was last asked.
    pub fn answered(&self, did: bool) {
        self.0.set(i64::from(did));
    }
}
