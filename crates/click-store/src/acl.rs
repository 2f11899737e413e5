//! Who may do what in Redis: a user for each service that uses it, and one for the operator.

use crate::{redis::Keys, roles::Role};

/// What every client sends when it connects, beside its login.
const CONNECT: [&str; 2] = ["client|id", "info"];

impl Role {
    /// The rules of this role's user for a deployment's `REDIS_PREFIX`, as `ACL SETUSER` has them: the
    /// commands that it runs, with the keys that it runs them on, and nothing else. Where the URL names
    /// a database, `+select` belongs to them.
    pub fn redis_rules(self, prefix: &str) -> String {
        let keys = Keys::new(prefix);
        let totals = format!("~{}", keys.all_totals());
        let ads = format!("~{} ~{}", keys.active_ads(), keys.kept_active_ads());
        let [on_totals, on_ads] = self.redis_commands().map(|commands| {
            commands.iter().map(|it| format!("+{it}")).collect::<Vec<_>>().join(" ")
        });
        let connect = CONNECT.map(|it| format!("+{it}")).join(" ");
        let rules = format!("resetchannels -@all {connect} {on_totals} {totals}");
        // In brackets: what may be done to these keys may not be done to the totals.
        if on_ads.is_empty() { rules } else { format!("{rules} ({on_ads} {ads})") }
    }

    /// What it runs on totals (in scripts too), and what on the lists of ads.
    fn redis_commands(self) -> [&'static [&'static str]; 2] {
        match self {
            Self::Consumer => [&["evalsha", "script|load", "hmget", "hset", "hincrby", "del"], &[]],
            Self::Analytics => [&["evalsha", "script|load", "hgetall"], &["get", "set", "exists"]],
            Self::Operator => {
                [&["evalsha", "script|load", "hmget", "hgetall", "hset", "del"], &["exists", "del"]]
            }
        }
    }
}
