//! TLS to a real Consul that demands client certificates: what is accepted, and what is refused with the certificate
//! that is wrong and the remedy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leadership_consul::{ConsulConfig, ConsulStore, Pem};
use leadership_core::{Config, Elections, ErrorKind, Outcome, StoreError};
use leadership_testkit::cluster::{Authority, ConsulCluster, Identity};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use support::{Shared, cases, elected, election, holder, keys, soon, through, waiting};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TTL: Duration = Duration::from_secs(4);

#[derive(Default)]
struct World {
    plain: Shared,
    secure: Shared,
}

impl World {
    async fn plain(&self) -> &ConsulCluster {
        support::plain(&self.plain).await
    }

    async fn secure(&self) -> &ConsulCluster {
        self.secure.started(ConsulCluster::builder().tls().start()).await
    }
}

fn main() {
    support::main::<World>(cases![
        the_right_certificates_are_accepted,
        certificates_in_files_are_accepted,
        an_authority_that_did_not_sign_is_refused_by_name,
        a_missing_or_foreign_client_certificate_is_asked_for,
        a_campaign_without_a_client_certificate_stops_with_the_reason,
        an_expired_certificate_is_named,
        a_certificate_that_is_not_valid_yet_is_named,
        a_certificate_for_another_name_is_named,
        another_name_of_the_server_is_accepted_when_it_is_given,
        a_client_with_tls_is_told_that_the_server_has_none,
        a_client_without_tls_is_told_that_the_server_has_it,
        a_campaign_with_a_wrong_authority_stops_with_the_reason,
        one_address_with_a_wrong_certificate_is_passed_over,
    ]);
}

fn at(cluster: &ConsulCluster) -> ConsulConfig {
    ConsulConfig::new([cluster.addr(0).unwrap().to_string()]).unwrap()
}

fn with_identity(config: ConsulConfig, identity: Identity) -> ConsulConfig {
    config.with_identity(Pem::text(identity.certificate), Pem::text(identity.key))
}

/// As the cluster wants it, at these addresses.
fn right(cluster: &ConsulCluster, config: ConsulConfig) -> ConsulConfig {
    let authority = cluster.authority().unwrap();
    let config = config.with_ca(Pem::text(authority.certificate()));
    with_identity(config, authority.identity().unwrap())
}

fn process(config: ConsulConfig) -> Elections {
    let store = ConsulStore::new(config).unwrap();
    Elections::new(Arc::new(store), Config::with_ttl(TTL)).unwrap()
}

async fn refused(config: ConsulConfig, kind: ErrorKind, parts: &[&str]) -> StoreError {
    let error = soon("refused", ConsulStore::connect(config))
        .await
        .expect_err("refused");
    let text = error.to_string();
    assert_eq!(
        (error.kind(), error.outcome()),
        (kind, Outcome::NotApplied),
        "{text}"
    );
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    error
}

/// Why a campaign has stopped.
async fn stopped(config: ConsulConfig) -> StoreError {
    let elections = process(config);
    let candidate = elections.stand(election("refused"), "a").unwrap();
    let error = match soon("stopped", candidate.elected()).await {
        Err(leadership_core::Error::Stopped(Some(error))) => error,
        other => panic!("{other:?}"),
    };
    soon("closed", elections.close()).await;
    error
}

/// Two processes in one election, from the first to the last request.
async fn held_by(cluster: &ConsulCluster, a: Elections, b: Elections) {
    let name = election("secure");
    let leader = a.stand(&name, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&name, "b").unwrap();
    waiting(&waiter).await;
    soon("resigned", leader.resign()).await.unwrap();
    assert!(elected(&waiter).await.token() > first.token());
    assert!(holder(cluster, &name).await.is_some());
    soon("closed", a.close()).await;
    soon("closed", b.close()).await;
    assert!(keys(cluster, &name).await.is_empty());
}

async fn the_right_certificates_are_accepted(world: Arc<World>) {
    let cluster = world.secure().await;
    let config = || right(cluster, at(cluster));
    ConsulStore::connect(config()).await.unwrap();
    held_by(cluster, process(config()), process(config())).await;
}

/// Files that are removed again.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("leadership-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What remains is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn certificates_in_files_are_accepted(world: Arc<World>) {
    let cluster = world.secure().await;
    let authority = cluster.authority().unwrap();
    let Identity { certificate, key } = authority.identity().unwrap();
    let files = Files::new("consul-tls");
    let url = format!(
        "{}?ca={}&cert={}&key={}",
        cluster.url(""),
        files.write("ca.pem", &authority.certificate()),
        files.write("cert.pem", &certificate),
        files.write("key.pem", &key),
    );
    held_by(cluster, through(&url, TTL), through(&url, TTL)).await;
}

async fn an_authority_that_did_not_sign_is_refused_by_name(world: Arc<World>) {
    let cluster = world.secure().await;
    let address = cluster.addr(0).unwrap().to_string();
    let other = Authority::generate().unwrap().certificate();
    let trusted = format!("trusted: ca PEM of {} bytes", other.len());
    let wrong = right(cluster, at(cluster)).with_ca(Pem::text(other));
    let error = refused(
        wrong,
        ErrorKind::Unauthenticated,
        &["invalid peer certificate", "give ca=", &trusted, &address],
    )
    .await;
    assert!(!error.is_transient());
    // With nothing given, the system's authorities are asked, who have not signed it either.
    refused(
        at(cluster).with_tls(),
        ErrorKind::Unauthenticated,
        &["the system's authorities", "give ca=", &address],
    )
    .await;
}

async fn a_missing_or_foreign_client_certificate_is_asked_for(world: Arc<World>) {
    let cluster = world.secure().await;
    let address = cluster.addr(0).unwrap().to_string();
    let authority = cluster.authority().unwrap();
    // The server says so after the handshake, while the request is on its way already: many times, in case it is
    // only sometimes understood.
    for _ in 0..10 {
        let foreign = Authority::generate().unwrap().identity().unwrap();
        for identity in [None, Some(foreign)] {
            let config = at(cluster).with_ca(Pem::text(authority.certificate()));
            let wrong = match identity {
                None => config,
                Some(identity) => with_identity(config, identity),
            };
            let error = refused(
                wrong,
                ErrorKind::Unauthenticated,
                &["fatal alert", "cert= and key=", &address],
            )
            .await;
            assert!(!error.is_transient());
        }
    }
}

async fn a_campaign_without_a_client_certificate_stops_with_the_reason(world: Arc<World>) {
    let cluster = world.secure().await;
    let authority = cluster.authority().unwrap();
    let error = stopped(at(cluster).with_ca(Pem::text(authority.certificate()))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("cert= and key="), "{error}");
}

/// A server with this certificate, and its address.
async fn server(params: CertificateParams) -> (String, String, JoinHandle<()>) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client refuses.
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, certificate.pem(), serving)
}

async fn an_expired_certificate_is_named(_: Arc<World>) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let (address, ca, serving) = server(params).await;
    let config = ConsulConfig::new([&address]).unwrap().with_ca(Pem::text(ca));
    refused(
        config,
        ErrorKind::Unauthenticated,
        &[&address, "xpired", "a certificate that is not expired"],
    )
    .await;
    serving.abort();
}

async fn a_certificate_that_is_not_valid_yet_is_named(_: Arc<World>) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2100, 1, 1);
    params.not_after = date_time_ymd(2101, 1, 1);
    let (address, ca, serving) = server(params).await;
    let config = ConsulConfig::new([&address]).unwrap().with_ca(Pem::text(ca));
    refused(
        config,
        ErrorKind::Unauthenticated,
        &[&address, "not valid yet", "clock"],
    )
    .await;
    serving.abort();
}

async fn a_certificate_for_another_name_is_named(_: Arc<World>) {
    let params = CertificateParams::new(["consul.example".to_owned()]).unwrap();
    let (address, ca, serving) = server(params).await;
    let config = ConsulConfig::new([&address]).unwrap().with_ca(Pem::text(ca));
    refused(
        config,
        ErrorKind::Unauthenticated,
        &[&address, "server_name=", "consul.example"],
    )
    .await;
    serving.abort();
}

async fn another_name_of_the_server_is_accepted_when_it_is_given(world: Arc<World>) {
    let cluster = world.secure().await;
    ConsulStore::connect(right(cluster, at(cluster)).with_server_name("localhost"))
        .await
        .unwrap();
    let other = right(cluster, at(cluster)).with_server_name("other.test");
    refused(other, ErrorKind::Unauthenticated, &["other.test", "server_name="]).await;
}

async fn a_client_with_tls_is_told_that_the_server_has_none(world: Arc<World>) {
    let cluster = world.plain().await;
    let address = cluster.addr(0).unwrap().to_string();
    let authority = world.secure().await.authority().unwrap();
    let with = at(cluster).with_ca(Pem::text(authority.certificate()));
    refused(
        with,
        ErrorKind::Unavailable,
        &[&address, "if this address has no TLS, leave out tls= and ca="],
    )
    .await;
}

async fn a_client_without_tls_is_told_that_the_server_has_it(world: Arc<World>) {
    let cluster = world.secure().await;
    let address = cluster.addr(0).unwrap().to_string();
    let parts = [&*address, "this address has TLS: give tls=true or ca="];
    let error = refused(at(cluster), ErrorKind::InvalidInput, &parts).await;
    assert!(!error.is_transient());
    let error = stopped(at(cluster)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

async fn a_campaign_with_a_wrong_authority_stops_with_the_reason(world: Arc<World>) {
    let cluster = world.secure().await;
    let wrong = Authority::generate().unwrap().certificate();
    let error = stopped(at(cluster).with_ca(Pem::text(wrong))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("give ca="), "{error}");
}

/// While one server has the certificate of another fleet, the rest will do.
async fn one_address_with_a_wrong_certificate_is_passed_over(world: Arc<World>) {
    let cluster = world.secure().await;
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let (wrong, _, serving) = server(params).await;
    let both = [cluster.addr(0).unwrap().to_string(), wrong];
    // They begin at either address.
    for _ in 0..8 {
        let config = right(cluster, ConsulConfig::new(&both).unwrap());
        soon("connected", ConsulStore::connect(config)).await.unwrap();
    }
    serving.abort();
}
