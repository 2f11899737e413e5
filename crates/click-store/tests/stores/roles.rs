//! The roles of Postgres: each can do its work, and no more.

use click_store::{
    ActiveAdsCache, Pool, ads, audit,
    days::Days,
    offsets, pool, rebuild,
    roles::{self, Found, Role},
    totals,
};
use proto_schemas::Kind;
use time::macros::date;

use crate::harness::{Stores, clicks, count, registered};

/// The database of a test, and a role of its own for each part.
struct Parts {
    stores: Stores,
    names: [String; 3],
}

impl Parts {
    async fn new(name: &str) -> Self {
        let stores = Stores::new(name).await;
        let database: String = stores.one("SELECT current_database()::text").await;
        // Roles belong to the server: a name with capitals and a hyphen wants its quotes.
        let names = Role::ALL.map(|role| format!("{database}-{role:?}"));
        for (role, name) in Role::ALL.into_iter().zip(&names) {
            assert_eq!(roles::grant(&stores.pool, role, name).await.unwrap(), Found::Made);
            assert_eq!(roles::grant(&stores.pool, role, name).await.unwrap(), Found::Known);
        }
        Self { stores, names }
    }

    fn pool(&self, role: Role) -> Pool {
        let name = &self.names[Role::ALL.iter().position(|it| *it == role).unwrap()];
        pool(&self.stores.url_of(name), "tests", 2).unwrap()
    }
}

#[tokio::test]
async fn each_role_can_do_its_work() {
    let parts = Parts::new("roleswork").await;
    let (consumer, analytics) = (parts.pool(Role::Consumer), parts.pool(Role::Analytics));
    let operator = parts.pool(Role::Operator);
    let at = parts.stores.partition(Kind::Click, 0);

    ads::add(&operator, &[registered(4)]).await.unwrap();
    ads::set_active(&operator, registered(4).id, false).await.unwrap();
    offsets::ensure(&consumer, &[(at.clone(), Kind::Click)]).await.unwrap();
    let day = (Kind::Click, date!(2031 - 02 - 03));
    Days::default().ensure(&consumer, [day]).await.unwrap();
    let batch = parts.stores.batch(Kind::Click, 0, 0, clicks(1, 0..3));
    assert_eq!(count(&consumer, &[batch]).await.unwrap().new_events(), 3);
    assert_eq!(audit::unaccounted(&consumer, std::slice::from_ref(&at)).await.unwrap(), 0);

    assert_eq!(totals::snapshot(&analytics).await.unwrap().ads[&registered(1).id].clicks, 3);
    assert_eq!(ads::active(&analytics).await.unwrap().len(), 3);

    parts.stores.execute("UPDATE ad_totals SET events = 7").await;
    let limit = ActiveAdsCache::KEPT_FOR;
    let rebuilt = rebuild::totals(&operator, limit).await.unwrap();
    assert_eq!(rebuilt.totals.len(), 1);
    offsets::renew_epoch(&operator, "a test").await.unwrap();

    // The day belongs to who owns the tables, not to who had it made.
    let owner: bool = parts
        .stores
        .one("SELECT relowner = current_user::regrole FROM pg_class WHERE relname = 'clicks_20310203'")
        .await;
    assert!(owner);
}

#[tokio::test]
async fn no_role_can_do_more() {
    let parts = Parts::new("rolesmore").await;
    for (role, statements) in [
        (
            Role::Consumer,
            &[
                "DELETE FROM clicks",
                "UPDATE clicks SET ad_id = 1",
                "TRUNCATE clicks",
                "DROP TABLE clicks",
                "INSERT INTO ads VALUES (9, '', '')",
                "DELETE FROM consumer_offsets",
                "CREATE TABLE mine ()",
                "ALTER FUNCTION make_day_partition SECURITY INVOKER",
                "SELECT FROM refinery_schema_history",
            ][..],
        ),
        (
            Role::Analytics,
            &[
                "SELECT FROM clicks",
                "SELECT FROM impressions",
                "UPDATE ads SET active = false",
                "UPDATE projection_epoch SET reason = ''",
                "SELECT make_day_partition('clicks', '2031-01-01')",
            ],
        ),
        (
            Role::Operator,
            &[
                "DELETE FROM ads",
                "DELETE FROM clicks",
                "INSERT INTO consumer_offsets VALUES ('t', 0, 'click')",
                "SELECT make_day_partition('clicks', '2031-01-01')",
            ],
        ),
    ] {
        let client = parts.pool(role).get().await.unwrap();
        for statement in statements {
            let refused = client.batch_execute(statement).await.expect_err(statement);

            let code = refused.code().map(tokio_postgres::error::SqlState::code);
            assert_eq!(code, Some("42501"), "{role:?}: {statement}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_a_caller_has_set_changes_nothing_of_how_a_day_is_made() {
    let parts = Parts::new("rolestrick").await;
    let client = parts.pool(Role::Consumer).get().await.unwrap();
    client
        .batch_execute(
            "CREATE TEMP TABLE clicks (dedup_time timestamptz) PARTITION BY RANGE (dedup_time);
             CREATE FUNCTION pg_temp.hashtext(text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';
             CREATE FUNCTION pg_temp.to_char(date, text) RETURNS text LANGUAGE sql AS 'SELECT ''x''';
             SET search_path = pg_temp, public;
             SET timezone = 'Asia/Kolkata';
             SET datestyle = 'SQL, DMY';",
        )
        .await
        .unwrap();

    client.batch_execute("SELECT public.make_day_partition('clicks', '2031-02-03')").await.unwrap();

    let bounds: String = parts
        .stores
        .one(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class
             WHERE oid = 'public.clicks_20310203'::regclass",
        )
        .await;
    assert_eq!(bounds, "FOR VALUES FROM ('2031-02-03 00:00:00+00') TO ('2031-02-04 00:00:00+00')");
}

#[tokio::test]
async fn a_right_that_an_earlier_release_gave_goes() {
    let parts = Parts::new("rolesgone").await;
    let name = &parts.names[1];
    parts.stores.execute(&format!("GRANT SELECT ON clicks TO \"{name}\"")).await;

    roles::grant(&parts.stores.pool, Role::Analytics, name).await.unwrap();

    let client = parts.pool(Role::Analytics).get().await.unwrap();
    assert!(client.batch_execute("SELECT FROM clicks").await.is_err());
}
