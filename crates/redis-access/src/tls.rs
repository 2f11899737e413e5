//! Encryption: whom to believe that a server is who it says.

use std::{error::Error, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::Unusable;

/// Who may vouch for a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Roots {
    /// Whom the system trusts.
    System,
    /// Those in this file (PEM), and nobody else.
    File(PathBuf),
}

impl Roots {
    /// What a TLS client needs: the server's certificate must be vouched for, and name its host.
    ///
    /// # Errors
    ///
    /// Where there is nobody who may vouch; `setting` is named as what to mend.
    pub fn client_config(&self, setting: &str) -> Result<ClientConfig, Unusable> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                // Systems carry some that nobody can read. The others do.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let text =
                        format!("{setting} is not given, and this system trusts no certificate");
                    return Err(Unusable(text));
                }
            }
            Self::File(path) => {
                let wrong = |error: &dyn Error| {
                    let text = format!("{setting} ({}): {error}", path.display());
                    Unusable(text)
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|it| wrong(&it))? {
                    let certificate = certificate.map_err(|it| wrong(&it))?;
                    roots.add(certificate).map_err(|it| wrong(&it))?;
                }
                if roots.is_empty() {
                    return Err(wrong(&NoCertificate));
                }
            }
        }
        // Named, and not the process's own: that would be whichever another library has set.
        let provider = Arc::new(ring::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Unusable("TLS cannot be set up".to_owned()))?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

/// Whether a failure is that of a certificate that was not accepted.
pub fn is_about_a_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = error.downcast_ref::<rustls::Error>().or_else(|| {
            // It hides in there without being its source.
            error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
        });
        if let Some(error) = found {
            return matches!(error, rustls::Error::InvalidCertificate(_));
        }
        next = error.source();
    }
    false
}

#[derive(Debug, thiserror::Error)]
#[error("it holds no certificate in PEM form")]
struct NoCertificate;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named_with_its_setting() {
        let refused = |path: &str| {
            let roots = Roots::File(path.into());
            roots.client_config("REDIS_CA_FILE").expect_err("nobody may vouch").to_string()
        };

        assert!(refused("/nowhere/ca.pem").starts_with("REDIS_CA_FILE (/nowhere/ca.pem)"));
        let empty = refused(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(empty.ends_with("it holds no certificate in PEM form"), "{empty}");
    }
}
