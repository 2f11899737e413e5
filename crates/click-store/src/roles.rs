//! Who may do what in the database: a role for each service that uses it, and one for the operator.
//!
//! The tables belong to somebody else: to the user of the migrations, and nobody else needs it.

use deadpool_postgres::{Pool, Transaction};

use crate::StoreError;

/// A part that somebody plays in the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// click-consumer: counts, and can neither delete nor change an event.
    Consumer,
    /// analytics-api: reads ads and totals, and no event.
    Analytics,
    /// `adctl`, but for its migrations and roles: registers ads, audits and rebuilds.
    Operator,
}

/// What a role may do with a table.
type Grant = (&'static str, &'static str);

impl Role {
    pub const ALL: [Self; 3] = [Self::Consumer, Self::Analytics, Self::Operator];

    /// The rights on each table. Days are made by a function of the tables' owner.
    pub fn grants(self) -> &'static [Grant] {
        match self {
            Self::Consumer => &[
                ("ads", "SELECT"),
                ("clicks", "SELECT, INSERT"),
                ("impressions", "SELECT, INSERT"),
                ("consumer_offsets", "SELECT, INSERT, UPDATE"),
                ("partition_ledger", "SELECT, INSERT, UPDATE"),
                ("ad_totals", "SELECT, INSERT, UPDATE"),
                ("projection_epoch", "SELECT, UPDATE"),
            ],
            Self::Analytics => &[
                ("ads", "SELECT"),
                ("ad_totals", "SELECT"),
                ("consumer_offsets", "SELECT"),
                ("projection_epoch", "SELECT"),
            ],
            Self::Operator => &[
                ("ads", "SELECT, INSERT, UPDATE"),
                ("clicks", "SELECT"),
                ("impressions", "SELECT"),
                ("consumer_offsets", "SELECT, UPDATE"),
                ("partition_ledger", "SELECT, INSERT, UPDATE"),
                ("ad_totals", "SELECT, INSERT, UPDATE"),
                ("projection_epoch", "SELECT, UPDATE"),
            ],
        }
    }

    fn makes_days(self) -> bool {
        self == Self::Consumer
    }
}

/// What [`grant`] found of a role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// It was there.
    Known,
    /// It was made, and cannot log in where a password is asked for before it has one.
    Made,
}

/// Gives `name` the rights of `role` and takes every other right in the schema away, all in one
/// transaction. Makes it where there is none of that name.
///
/// # Errors
///
/// Where the pool's user does not own the tables, or may make no roles and there is none of that
/// name.
pub async fn grant(pool: &Pool, role: Role, name: &str) -> Result<Found, StoreError> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    // Two at once would both update the same rows of the catalogue, and one of them fail.
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtext('roles'))").await?;
    let row = transaction
        .query_one(
            "SELECT quote_ident($1), quote_ident(current_schema()),
                    EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
            &[&name],
        )
        .await?;
    let (role_name, schema): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let found = if row.try_get(2)? { Found::Known } else { Found::Made };
    if found == Found::Made {
        transaction.batch_execute(&format!("CREATE ROLE {role_name} LOGIN")).await?;
    }
    only(&transaction, role, &role_name, &schema).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn only(
    transaction: &Transaction<'_>,
    role: Role,
    name: &str,
    schema: &str,
) -> Result<(), StoreError> {
    let mut statements = vec![
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name}"),
        format!("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM {name}"),
        format!("REVOKE ALL ON SCHEMA {schema} FROM {name}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {name}"),
    ];
    statements.extend(
        role.grants()
            .iter()
            .map(|(table, rights)| format!("GRANT {rights} ON {schema}.{table} TO {name}")),
    );
    if role.makes_days() {
        let function = "make_day_partition(text, date)";
        statements.push(format!("GRANT EXECUTE ON FUNCTION {schema}.{function} TO {name}"));
    }
    transaction.batch_execute(&statements.join(";")).await?;
    Ok(())
}
