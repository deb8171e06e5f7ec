//! A candidate that stands, wins, works for a while, and resigns.
//!
//! ```sh
//! cargo run -p leadership --example candidate -- etcd://127.0.0.1:2379 underwood
//! ```

use std::time::Duration;

use leadership::{Config, Elections, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: candidate STORE_URL NAME".into());
    };
    let elections = Elections::new(connect(&url).await?, Config::default())?;
    let candidate = elections.stand("service/swarm/leader", name.as_str())?;

    let term = candidate.elected().await?;
    println!("{name} is elected, token {}", term.token());
    for step in 1..=3 {
        // Every write to something outside carries the token; a resource that has seen a higher one refuses it.
        if !term.is_valid() {
            return Err("the term is over, and so is the work".into());
        }
        println!("{name} works: step {step}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    candidate.resign().await?;
    println!("{name} has resigned");

    // Resigned, it stands at the end of the line. Closing leaves the line too, and ends the session.
    elections.close().await;
    Ok(())
}
