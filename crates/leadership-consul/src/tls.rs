//! TLS as rustls wants it. The provider is named here, so that a program with another one, or two, is no trouble.

use std::sync::Arc;

use leadership_core::InvalidInput;
use leadership_core::address::{Pem, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// The client's side of TLS. Unless `wanted` no system authorities are looked for.
pub(crate) fn client_config(tls: &Tls, wanted: bool) -> Result<ClientConfig, InvalidInput> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates("ca", ca)? {
                roots
                    .add(certificate)
                    .map_err(|e| refused("ca", ca, &e.to_string()))?;
            }
        }
        None if wanted => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(InvalidInput::new(
                    "tls=true",
                    "this system has no certificate authorities",
                    "install the package ca-certificates, or give ca=",
                ));
            }
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| InvalidInput::new("TLS options", e.to_string(), "give others"))?
        .with_root_certificates(roots);
    let Some((cert, key)) = &tls.identity else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates("cert", cert)?;
    let private = PrivateKeyDer::from_pem_slice(&key.read("key")?)
        .map_err(|_| refused("key", key, "there is no private key in it"))?;
    config
        .with_client_auth_cert(chain, private)
        .map_err(|e| refused("cert", cert, &format!("it cannot be used with the key: {e}")))
}

/// A name to expect in the servers' certificates.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, InvalidInput> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        InvalidInput::new(
            format!("server_name {name:?}"),
            "it is no host name",
            "give a name that is in the servers' certificates",
        )
    })
}

fn certificates(what: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, InvalidInput> {
    let text = pem.read(what)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|e| refused(what, pem, &e.to_string()))?;
    if certificates.is_empty() {
        return Err(refused(what, pem, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn refused(what: &str, pem: &Pem, problem: &str) -> InvalidInput {
    InvalidInput::new(
        format!("{what} {}", pem.origin()),
        problem,
        "give a file in PEM, with BEGIN and END lines",
    )
}
