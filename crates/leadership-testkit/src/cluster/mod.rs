//! Real servers in containers, for tests: started, broken and removed by the test that needs them.
//!
//! A cluster such as [`EtcdCluster`] belongs to one test and vanishes with it. Its nodes can be paused,
//! killed and cut off from each other; a [`Proxy`] hangs or cuts one client's way to a node. What a killed
//! test run leaves behind is removed by the next one.
//!
//! Docker has to run, and the images have to be there: `cargo xtask images` makes them, `cargo xtask test`
//! does so by itself.

mod docker;
mod etcd;
mod etcd_builder;
mod etcdctl;
mod http;
mod network;
mod node;
mod owner;
mod partition;
mod ports;
mod proxy;
mod tls;

pub use etcd::EtcdCluster;
pub use etcd_builder::EtcdBuilder;
pub use etcdctl::{Etcdctl, Output};
pub use proxy::Proxy;
pub use tls::Authority;
