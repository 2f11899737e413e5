//! Steps of counting at which a fault test may end or freeze the process; compiled for such tests only.

/// A step, which `FAILPOINTS` calls by its name in lower case: `after-insert`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    BeforeFence,
    AfterInsert,
    BeforeCommit,
    AfterCommit,
    DuringRedis,
    BeforeKafkaOffset,
}

/// Ends the process where `FAILPOINTS` says so: with `after-insert=3*off->return` at the fourth time.
///
/// As abruptly as `kill -9`: nothing is unwound, flushed, rolled back or closed in good order. With
/// `return(freeze)` all of it stops where it is, as by SIGSTOP, until somebody sends it SIGCONT.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: Point) {
    fail::fail_point!(point.name(), |how: Option<String>| match how.as_deref() {
        Some("freeze") => freeze(),
        _ => std::process::abort(),
    });
}

#[cfg(feature = "failpoints")]
fn freeze() {
    use nix::sys::signal::{Signal, raise};

    // Returns when it is woken. A signal to oneself cannot fail.
    raise(Signal::SIGSTOP).ok();
}

/// Does nothing: this is no build for fault tests.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_: Point) {}

#[cfg(feature = "failpoints")]
impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::BeforeFence => "before-fence",
            Self::AfterInsert => "after-insert",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::DuringRedis => "during-redis",
            Self::BeforeKafkaOffset => "before-kafka-offset",
        }
    }
}
