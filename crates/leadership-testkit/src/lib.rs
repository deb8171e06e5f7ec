//! What leadership is tested with: a conformance suite for any store, a model for exhaustive checking, and real
//! clusters in containers.

pub mod bench;
pub mod cluster;
pub mod conformance;
pub mod model;
