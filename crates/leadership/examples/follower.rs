//! A follower that says who leads, until it is interrupted.
//!
//! ```sh
//! cargo run -p leadership --example follower -- consul://127.0.0.1:8500
//! ```

use futures_util::StreamExt;
use leadership::{Change, Config, Elections, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(url) = std::env::args().nth(1) else {
        return Err("usage: follower STORE_URL".into());
    };
    let elections = Elections::new(connect(&url).await?, Config::default())?;
    let mut changes = elections.follow("service/swarm/leader")?.changes();
    while let Some(change) = changes.next().await {
        match change {
            Change::Leader(leader) => println!("{} is now the leader", leader.name()),
            Change::Value(leader) => println!("the leader is now called {}", leader.name()),
            Change::NoLeader => println!("nobody leads"),
            // It goes on trying; what it saw last may be old.
            other => println!("the store cannot be heard: {other:?}"),
        }
    }
    Ok(())
}
