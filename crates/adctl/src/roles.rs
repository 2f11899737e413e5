//! `adctl roles`: gives each service the rights in Postgres that it needs, and no other.

use anyhow::anyhow;
use clap::Args;
use click_store::{
    StoreError,
    roles::{self, Found, Role},
};

use crate::{connections::PostgresAt, output};

/// Give each service the rights in Postgres that it needs, and no other
///
/// To be run by the user who ran the migrations, and again after each upgrade. A role that is not
/// there is made, which takes the right `CREATEROLE`; it needs a password before it can log in
/// (`\password ads_consumer` in psql). The ingest service does not use Postgres.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    DATABASE_URL_FILE=/run/secrets/owner-url adctl roles --consumer clicks_rw --analytics clicks_ro")]
pub(crate) struct Roles {
    /// The role of the consumer, which must run with `MIGRATE_ON_START=false`
    #[arg(long, value_name = "NAME", default_value = "ads_consumer")]
    consumer: String,
    /// The role of the analytics service
    #[arg(long, value_name = "NAME", default_value = "ads_analytics")]
    analytics: String,
    /// The role of adctl, for everything but `migrate` and `roles`
    #[arg(long, value_name = "NAME", default_value = "ads_operator")]
    operator: String,
    #[command(flatten)]
    postgres: PostgresAt,
}

impl Roles {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = self.postgres.pool()?;
        for role in Role::ALL {
            let name = match role {
                Role::Consumer => &self.consumer,
                Role::Analytics => &self.analytics,
                Role::Operator => &self.operator,
            };
            let found =
                roles::grant(&pool, role, name).await.map_err(|error| self.explain(name, error))?;
            output::result(format_args!(
                "{name}: {}",
                match found {
                    Found::Known => "has the rights that it needs, and no other",
                    Found::Made => "made; it needs a password before it can log in",
                }
            ))?;
        }
        Ok(())
    }

    fn explain(&self, name: &str, error: StoreError) -> anyhow::Error {
        let refused = match &error {
            StoreError::Postgres(error) => error.as_db_error(),
            _ => None,
        };
        match refused.filter(|it| it.code().code() == "42501") {
            Some(refused) => anyhow!(
                "{name}: {}. Run this as the user who ran the migrations; where that one may not make \
                 roles, let somebody who may make {name} first (CREATE ROLE {name} LOGIN)",
                refused.message()
            ),
            None => self.postgres.explain(error),
        }
    }
}
