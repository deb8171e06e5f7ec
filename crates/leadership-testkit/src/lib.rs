//! What leadership is tested with: a conformance suite for any store, a model for exhaustive checking, a simulator on
//! virtual time, chaos on real clusters with a checker, and those clusters, in containers.

pub mod attacks;
pub mod bench;
pub mod chaos;
pub mod cluster;
pub mod cluster_faults;
pub mod conformance;
pub mod interop;
pub mod known_failures;
pub mod model;
pub mod secrets;
pub mod sim;
pub mod trials;
pub mod witness;
pub mod worker;
