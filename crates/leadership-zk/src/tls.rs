//! TLS as zookeeper-client takes it, and a look at why a server's certificate, or ours, is not accepted, which
//! zookeeper-client keeps to itself.
//!
//! zookeeper-client takes the process's default provider of cryptography, and rustls panics where there are two to
//! choose from and none was chosen: it brings aws-lc-rs, and others bring ring. So one is chosen here, unless the
//! program has done so before.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use leadership_core::InvalidInput;
use leadership_core::address::{Pem, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use zookeeper_client::TlsOptions;

/// How long a server is waited for that may refuse our certificate: in TLS 1.3 the handshake is over before.
const REFUSAL_LIMIT: Duration = Duration::from_millis(300);

/// TLS as configured, with the files read.
pub(crate) struct TlsClient {
    pub(crate) options: TlsOptions,
    /// The same for looking into what goes wrong.
    probe: tokio_rustls::TlsConnector,
}

impl TlsClient {
    pub(crate) fn new(tls: &Tls, servers: &[String]) -> Result<Self, InvalidInput> {
        if let Some(name) = &tls.server_name {
            return Err(InvalidInput::new(
                format!("server_name {name:?}"),
                "zookeeper-client expects the servers' own addresses in their certificates",
                "leave it out, and name the servers as their certificates do",
            ));
        }
        for server in servers {
            server_name(server)?;
        }
        // An error means that somebody was faster, and then there is one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let authorities = authorities(tls)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        if roots.is_empty() {
            return Err(InvalidInput::new(
                tls.ca
                    .as_ref()
                    .map_or_else(|| "tls=true".to_owned(), |ca| format!("ca {}", ca.origin())),
                "there is no certificate of an authority",
                "give ca= with one in PEM",
            ));
        }
        let refuse = |what: &str, error: &dyn std::fmt::Display| {
            InvalidInput::new(
                format!("{what} of the TLS options"),
                error.to_string(),
                "give certificates and the key that belongs to them in PEM",
            )
        };
        let mut options = TlsOptions::new()
            .with_pem_ca(&pem(&authorities))
            .map_err(|error| refuse("ca", &error))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse("versions", &error))?
            .with_root_certificates(roots);
        let probe = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let key_text = key.read("key")?;
                let private = PrivateKeyDer::from_pem_slice(&key_text)
                    .map_err(|_| refuse("key", &"there is no private key in it"))?;
                let chain = certificates("cert", cert)?;
                options = options
                    .with_pem_identity(&pem(&chain), &String::from_utf8_lossy(&key_text))
                    .map_err(|_| refuse("key", &"it cannot be used"))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| refuse("cert", &error))?
            }
        };
        Ok(Self {
            options,
            probe: tokio_rustls::TlsConnector::from(Arc::new(probe)),
        })
    }

    /// What is wrong with the certificates on this connection, with the remedy; or with the connection.
    pub(crate) async fn problem(&self, server: &str, stream: TcpStream) -> Option<String> {
        let name = server_name(server).ok()?;
        let error = match self.probe.connect(name, stream).await {
            Err(error) => error,
            Ok(mut stream) => {
                let mut byte = [0];
                tokio::time::timeout(REFUSAL_LIMIT, stream.read(&mut byte))
                    .await
                    .ok()?
                    .err()?
            }
        };
        let text = error.to_string();
        Some(match certificate_remedy(&text) {
            Some(remedy) => format!("{text}; {remedy}"),
            None => format!("{text}; does it have TLS?"),
        })
    }
}

/// What to do about a certificate that one side did not accept. Texts are those of rustls.
pub(crate) fn certificate_remedy(text: &str) -> Option<&'static str> {
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        return Some("name the server as its certificate does");
    }
    if text.contains("xpired") && text.contains("invalid peer certificate") {
        return Some("give the server a certificate that is not expired");
    }
    if text.contains("invalid peer certificate") {
        return Some("give ca= with the authority that signed the server's certificate");
    }
    // An alert is what the server sent about our certificate.
    if text.contains("fatal alert") && (text.contains("ertificate") || text.contains("UnknownCA")) {
        return Some("give cert= and key= with a client certificate that the server accepts");
    }
    None
}

/// The name that a server's certificate must have: zookeeper-client panics where it is none.
fn server_name(server: &str) -> Result<ServerName<'static>, InvalidInput> {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| {
        InvalidInput::new(
            format!("endpoint {server:?}"),
            "it can be in no certificate",
            "give a host name or an address",
        )
    })
}

fn authorities(tls: &Tls) -> Result<Vec<CertificateDer<'static>>, InvalidInput> {
    match &tls.ca {
        Some(ca) => certificates("ca", ca),
        None => Ok(rustls_native_certs::load_native_certs().certs),
    }
}

fn certificates(what: &str, source: &Pem) -> Result<Vec<CertificateDer<'static>>, InvalidInput> {
    let text = source.read(what)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(InvalidInput::new(
            format!("{what} {}", source.origin()),
            "there is no certificate in it",
            "give a file in PEM, with BEGIN and END lines",
        )),
    }
}

/// zookeeper-client takes certificates as PEM only.
fn pem(certificates: &[CertificateDer<'static>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
        for (at, c) in encoded.char_indices() {
            if at > 0 && at % 64 == 0 {
                text.push('\n');
            }
            text.push(c);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_zookeeper_client_cannot_do_is_refused_before() {
        let ca = Some(Pem::text("nothing"));
        for (tls, server, part) in [
            (
                Tls {
                    server_name: Some("n".to_owned()),
                    ..Tls::default()
                },
                "h:1",
                "leave it out",
            ),
            (Tls::default(), "-.-:1", "no certificate"),
            (Tls { ca, ..Tls::default() }, "h:1", "BEGIN"),
        ] {
            let error = TlsClient::new(&tls, &servers(&[server]))
                .err()
                .expect(part)
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn hosts_are_named_without_port_and_brackets() {
        for good in ["h:2181", "10.0.0.1:1", "[::1]:2181", "a-b.c:1"] {
            server_name(good).expect(good);
        }
    }

    #[test]
    fn remedies_follow_from_the_texts_of_rustls() {
        for (text, remedy) in [
            ("invalid peer certificate: UnknownIssuer", "ca="),
            ("invalid peer certificate: Expired", "not expired"),
            (
                "invalid peer certificate: certificate not valid for name \"h\"",
                "name the server",
            ),
            ("received fatal alert: CertificateRequired", "cert="),
        ] {
            assert!(certificate_remedy(text).expect(text).contains(remedy), "{text}");
        }
        assert_eq!(certificate_remedy("connection reset"), None);
    }
}
