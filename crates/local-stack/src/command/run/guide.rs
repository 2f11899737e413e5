//! Where everything is, and what to try.

use std::fmt::Write as _;
use std::path::Path;

use super::services::Plans;
use crate::command::stores::Addresses;

/// What is printed when everything is up.
pub(super) fn text(
    plans: &Plans,
    addresses: &Addresses,
    prometheus: Option<&str>,
    folder: &Path,
) -> String {
    let (ingest, analytics) = (plans.ingest_url(), plans.analytics_url());
    let mut text = format!(
        "
Everything is up. Ctrl-C stops it; the data stays for the next `make run`.

  {:<16}{ingest}   POST /ads/click, POST /ads/impression
  {:<16}{analytics}   GET /ads, GET /ads/analytics, GET /ads/1/vast.xml
",
        "ingest", "analytics",
    );
    let metrics =
        plans.admin_urls().map(|(name, url)| (name, format!("{url}   /metrics, /readyz")));
    let prometheus = prometheus.map(|url| ("Prometheus", format!("{url}/alerts")));
    let stores = [
        ("Kafka", addresses.kafka_brokers.clone()),
        ("Postgres", without_password(&addresses.database_url)),
        ("Redis", without_password(&addresses.redis_url)),
        ("logs", folder.join("logs").display().to_string()),
    ];
    for (name, place) in metrics.into_iter().chain(prometheus).chain(stores) {
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "  {name:<16}{place}");
    }
    let _ok = write!(
        text,
        "
Try:
  curl -s {analytics}/ads
  curl -s {analytics}/ads/analytics
  curl -s {analytics}/ads/1/vast.xml
  curl -s {ingest}/ads/click -H 'content-type: application/json' \\
       -d \"{{\\\"ad_id\\\":1,\\\"timestamp\\\":\\\"$(date -u +%FT%TZ)\\\"}}\"
",
    );
    text
}

/// A url that may be shown on a screen.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((who, server)) => {
            let user = who.split_once(':').map_or(who, |(user, _)| user);
            format!("{scheme}://{user}@{server}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("postgres://ads:s3cret@db:5432/ads", "postgres://ads@db:5432/ads"),
            ("postgres://ads@127.0.0.1/ads", "postgres://ads@127.0.0.1/ads"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
