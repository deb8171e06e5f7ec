//! Real servers in containers, for tests: started, broken and removed by the test that needs them.
//!
//! A cluster such as [`EtcdCluster`], [`ConsulCluster`] or [`ZkCluster`] belongs to one test and vanishes with it.
//! Its nodes can be paused, killed and cut off from each other; a [`Proxy`] hangs or cuts one client's way to a
//! node. What a killed test run leaves behind is removed by the next one.
//!
//! Docker has to run, and the images have to be there: `cargo xtask images` makes them, `cargo xtask test`
//! does so by itself.

mod consul;
mod consul_builder;
mod docker;
mod etcd;
mod etcd_builder;
mod four_letters;
mod http;
mod network;
mod node;
mod nodes;
mod owner;
mod partition;
mod ports;
mod proxy;
mod server;
mod sidecar;
mod tls;
mod tool;
mod zk;
mod zk_builder;
mod zk_requests;

pub use consul::{Consul, ConsulCluster};
pub use consul_builder::ConsulBuilder;
pub use etcd::{Etcd, EtcdCluster, Etcdctl};
pub use etcd_builder::EtcdBuilder;
pub use nodes::Cluster;
pub use proxy::{CountRequests, Proxy};
pub use server::Server;
pub use tls::{Authority, Identity};
pub use tool::{Output, Tool};
pub use zk::{Zk, ZkCluster};
pub use zk_builder::ZkBuilder;
pub use zk_requests::ZkRequests;
