//! Why Redis does not let a client in, in words that say what to look at.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::EventInterface as _,
    types::config::Server,
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};
use tracing::error;

/// Logs as an error why Redis refuses this client, once for each reason until it lets it in. That it
/// is away is for those to tell whose commands fail.
///
/// To be called before the client connects. It goes on until what is returned is dropped.
#[must_use = "it ends when this is dropped"]
pub fn log_refusals(client: &Client) -> JoinSet<()> {
    let mut logging = JoinSet::new();
    logging.spawn(log(client.error_rx(), client.reconnect_rx()));
    logging
}

async fn log(mut failures: Receiver<(Error, Option<Server>)>, mut reconnects: Receiver<Server>) {
    let mut told = None;
    loop {
        // Both are cancel safe.
        tokio::select! {
            failure = failures.recv() => match failure {
                Ok((failure, _server)) => {
                    let Some(remedy) = remedy(&failure) else { continue };
                    if told.replace(remedy) != Some(remedy) {
                        error!(error = %failure, remedy, "redis refuses the connection");
                    }
                }
                // There will be more of them.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            Ok(_server) = reconnects.recv() => told = None,
        }
    }
}

/// What to look at where trying again cannot help.
fn remedy(failure: &Error) -> Option<&'static str> {
    // The library keeps of a failed handshake only how it looks in a debugger.
    let said = failure.details();
    match failure.kind() {
        ErrorKind::Auth => Some("look at user and password in REDIS_URL"),
        _ if said.contains("InvalidCertificate") => Some(
            "REDIS_CA_FILE must hold who signed the server's certificate, and the certificate \
             must name the host of REDIS_URL",
        ),
        _ if said.contains("InvalidMessage") => {
            Some("REDIS_URL begins with rediss://: the server must offer TLS at that port")
        }
        _ if said.starts_with("NOPERM") => Some("look at what docs/SECURITY.md lets the user do"),
        _ => None,
    }
}
