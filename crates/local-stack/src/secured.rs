//! What a private server demands of its clients, where it does: TLS under an authority of its own, and
//! users with passwords.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{StartError, place::temporary_folder};

/// The user that may do everything.
const ADMIN: &str = "admin";

/// Signs certificates for servers on this machine. Cloning shares the same authority.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
    folder: Arc<TempDir>,
}

/// What a server demands.
#[derive(Clone, Debug)]
pub struct Demands {
    authority: Authority,
    /// Whom its certificate names.
    hosts: Vec<String>,
    /// A file of whom to trust.
    pub(crate) ca_file: PathBuf,
    /// The first may do everything.
    pub(crate) users: Vec<User>,
}

/// What a server proves itself with, PEM.
pub(crate) struct Proof {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Somebody whom a server lets in.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: String,
    /// What Redis lets it do, as `ACL SETUSER` has it. Kafka and Postgres do not look at it.
    pub rules: String,
}

impl User {
    /// Somebody with a password that nobody has had before.
    pub fn new(name: &str, rules: &str) -> Self {
        let password = Uuid::new_v4().simple().to_string();
        Self { name: name.to_owned(), password, rules: rules.to_owned() }
    }
}

impl Authority {
    /// Makes an authority that nobody trusts yet.
    pub fn new() -> Result<Self, StartError> {
        let folder = temporary_folder()
            .map_err(StartError::file("no temporary folder below", &std::env::temp_dir()))?;
        let mut params = CertificateParams::default();
        // Two of one name would be taken for one, and the signature for the fault.
        let name = format!("local-stack {}", Uuid::new_v4());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(cannot_sign)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(cannot_sign)?;

        let authority = Self { issuer: Arc::new(issuer), folder: Arc::new(folder) };
        let file = authority.ca_file();
        std::fs::write(&file, authority.issuer.pem())
            .map_err(StartError::file("certificate could not be written", &file))?;
        Ok(authority)
    }

    /// A file (PEM) of whom to trust: this authority.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Lets a server on 127.0.0.1 demand TLS and a login of everybody: of a user that may do
    /// everything, and of `users`.
    pub fn demands(&self, users: impl IntoIterator<Item = User>) -> Demands {
        self.demands_as(&["127.0.0.1", "localhost"], users)
    }

    /// The same with a certificate that is for other hosts.
    pub fn demands_as(&self, hosts: &[&str], users: impl IntoIterator<Item = User>) -> Demands {
        Demands {
            authority: self.clone(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            ca_file: self.ca_file(),
            users: std::iter::once(User::new(ADMIN, "~* &* +@all")).chain(users).collect(),
        }
    }
}

impl Demands {
    /// Who may do everything.
    pub fn admin(&self) -> &User {
        &self.users[0]
    }

    /// A new certificate with a new key. There is one for each start, as if it had been renewed.
    pub(crate) fn proof(&self) -> Result<Proof, StartError> {
        let key = KeyPair::generate().map_err(cannot_sign)?;
        let certificate = CertificateParams::new(self.hosts.clone())
            .and_then(|params| params.signed_by(&key, &self.authority.issuer))
            .map_err(cannot_sign)?;
        Ok(Proof { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Puts what the server proves itself with into its folder: certificate and key, each a file.
    pub(crate) fn write_certificate(
        &self,
        folder: &Path,
    ) -> Result<(PathBuf, PathBuf), StartError> {
        let proof = self.proof()?;
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        for (path, text) in [(&certificate, proof.certificate), (&key, proof.key)] {
            std::fs::write(path, text)
                .map_err(StartError::file("certificate could not be written", path))?;
        }
        Ok((certificate, key))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn cannot_sign(error: rcgen::Error) -> StartError {
    StartError::Preparing {
        what: "a certificate could not be made".to_owned(),
        output: error.to_string(),
    }
}
