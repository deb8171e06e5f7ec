//! TLS to a real ZooKeeper, in a program that has two providers of cryptography: what is accepted, and what is
//! refused with the certificate that is wrong and the remedy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use leadership_core::{Config, Elections, ErrorKind, Outcome, StoreError};
use leadership_testkit::cluster::{Authority, Identity, ZkCluster};
use leadership_zk::{Pem, ZkConfig, ZkStore};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use support::{Shared, cases, elected, election, soon, waiting};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TTL: Duration = Duration::from_secs(5);

#[derive(Default)]
struct World(Shared);

impl World {
    async fn secure(&self) -> &ZkCluster {
        self.0.started(ZkCluster::builder().tls().start()).await
    }
}

fn main() {
    support::main::<World>(cases![
        the_right_certificates_are_accepted,
        an_authority_that_did_not_sign_is_refused_by_name,
        a_missing_or_foreign_client_certificate_is_asked_for,
        an_expired_certificate_is_named,
        a_certificate_for_another_name_is_named,
        a_client_with_tls_is_told_that_the_server_has_none,
        a_client_without_tls_is_told_that_the_server_may_have_it,
        a_campaign_with_a_wrong_authority_stops_with_the_reason,
    ]);
}

fn without_tls(cluster: &ZkCluster) -> ZkConfig {
    ZkConfig::new([cluster.addr(0).unwrap().to_string()]).unwrap()
}

fn config(cluster: &ZkCluster, authority: &Authority, identity: Option<Identity>) -> ZkConfig {
    let config = without_tls(cluster).with_ca(Pem::text(authority.certificate()));
    match identity {
        Some(identity) => config.with_identity(Pem::text(identity.certificate), Pem::text(identity.key)),
        None => config,
    }
}

/// As the cluster wants it.
fn right(cluster: &ZkCluster) -> ZkConfig {
    let authority = cluster.authority().unwrap();
    config(cluster, authority, Some(authority.identity().unwrap()))
}

async fn refused(config: ZkConfig, kind: ErrorKind, parts: &[&str]) -> StoreError {
    let error = soon("refused", ZkStore::connect(config))
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

async fn the_right_certificates_are_accepted(world: Arc<World>) {
    let cluster = world.secure().await;
    let process = || {
        let store = ZkStore::new(right(cluster)).unwrap();
        Elections::new(Arc::new(store), Config::with_ttl(TTL)).unwrap()
    };
    let (a, b) = (process(), process());
    let name = election("secure");
    let leader = a.stand(&name, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&name, "b").unwrap();
    waiting(&waiter).await;
    soon("resigned", leader.resign()).await.unwrap();
    assert!(elected(&waiter).await.token() > first.token());
    soon("closed", a.close()).await;
    soon("closed", b.close()).await;
    ZkStore::connect(right(cluster)).await.unwrap();
}

async fn an_authority_that_did_not_sign_is_refused_by_name(world: Arc<World>) {
    let cluster = world.secure().await;
    let identity = cluster.authority().unwrap().identity().unwrap();
    let wrong = Authority::generate().unwrap();
    let error = refused(
        config(cluster, &wrong, Some(identity)),
        ErrorKind::Unauthenticated,
        &["UnknownIssuer", "ca="],
    )
    .await;
    assert!(!error.is_transient());
}

async fn a_missing_or_foreign_client_certificate_is_asked_for(world: Arc<World>) {
    let cluster = world.secure().await;
    let authority = cluster.authority().unwrap();
    let foreign = Authority::generate().unwrap().identity().unwrap();
    for identity in [None, Some(foreign)] {
        let wrong = config(cluster, authority, identity);
        refused(wrong, ErrorKind::Unauthenticated, &["fatal alert", "cert="]).await;
    }
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
    let config = ZkConfig::new([&address]).unwrap().with_ca(Pem::text(ca));
    refused(
        config,
        ErrorKind::Unauthenticated,
        &[&address, "xpired", "not expired"],
    )
    .await;
    serving.abort();
}

async fn a_certificate_for_another_name_is_named(_: Arc<World>) {
    let params = CertificateParams::new(["zk.example".to_owned()]).unwrap();
    let (address, ca, serving) = server(params).await;
    let config = ZkConfig::new([&address]).unwrap().with_ca(Pem::text(ca));
    refused(config, ErrorKind::Unauthenticated, &[&address, "name the server"]).await;
    serving.abort();
}

async fn a_client_with_tls_is_told_that_the_server_has_none(world: Arc<World>) {
    let cluster = ZkCluster::start(1).await.unwrap();
    let authority = world.secure().await.authority().unwrap();
    let with = config(&cluster, authority, None);
    refused(with, ErrorKind::Unavailable, &["does it have TLS?"]).await;
    cluster.remove().await.unwrap();
}

async fn a_client_without_tls_is_told_that_the_server_may_have_it(world: Arc<World>) {
    let cluster = world.secure().await;
    refused(without_tls(cluster), ErrorKind::Unavailable, &["TLS only"]).await;
}

async fn a_campaign_with_a_wrong_authority_stops_with_the_reason(world: Arc<World>) {
    let cluster = world.secure().await;
    let wrong = Authority::generate().unwrap();
    let store = ZkStore::new(config(cluster, &wrong, None)).unwrap();
    let elections = Elections::new(Arc::new(store), Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(election("wrong-authority"), "a").unwrap();
    match soon("stopped", candidate.elected()).await {
        Err(leadership_core::Error::Stopped(Some(error))) => {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.to_string().contains("ca="), "{error}");
        }
        other => panic!("{other:?}"),
    }
    soon("closed", elections.close()).await;
}
