//! Certificates for a cluster that listens with TLS.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::sync::atomic::{AtomicU64, Ordering};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

/// Where they are in a container.
pub(super) const CA: &str = "/tls/ca.pem";
pub(super) const CERTIFICATE: &str = "/tls/server.pem";
pub(super) const KEY: &str = "/tls/server-key.pem";
/// Key and certificate in one file, as ZooKeeper reads them.
pub(super) const KEY_AND_CERTIFICATE: &str = "/tls/server-all.pem";

/// A certificate authority that exists for one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody else trusts.
    pub fn generate() -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            // A name of its own: one authority of the same name as another is taken for a forgery of it.
            .push(DnType::CommonName, format!("leadership test authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// Its certificate, as PEM: what a client has to trust.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// For a server or a client on this host.
    pub fn identity(&self) -> Result<Identity> {
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// Puts an identity, and what it takes to trust others, into a container.
    pub(super) fn install(
        &self,
        request: ContainerRequest<GenericImage>,
    ) -> Result<ContainerRequest<GenericImage>> {
        let Identity { certificate, key } = self.identity()?;
        let both = format!("{key}{certificate}");
        Ok(request
            .with_copy_to(CA, self.certificate().into_bytes())
            .with_copy_to(CERTIFICATE, certificate.into_bytes())
            .with_copy_to(KEY, key.into_bytes())
            .with_copy_to(KEY_AND_CERTIFICATE, both.into_bytes()))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Without the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
