//! A service that leads again and again, whatever happens to the store, until it is interrupted.
//!
//! ```sh
//! cargo run -p leadership --example fault_tolerant -- zk://127.0.0.1:2181 underwood
//! ```

use std::time::Duration;

use leadership::{Config, Elections, Error, Term, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: fault_tolerant STORE_URL NAME".into());
    };
    let store = loop {
        match connect(&url).await {
            Ok(store) => break store,
            Err(error @ Error::Invalid(_)) => return Err(error.into()),
            Err(error) => {
                println!("{name}: {error}; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let elections = Elections::new(store, Config::with_ttl(Duration::from_secs(10)))?;
    let candidate = elections.stand("service/swarm/leader", name.as_str())?;
    let service = async {
        loop {
            // Errors of the store are waited out, and lost sessions made anew: there is nothing to do about them
            // here. The work is dropped when the term ends, and begins again with the next one.
            match candidate.lead(work).await {
                Err(error @ Error::Stopped(_)) => break error,
                ended => println!("{name} leads no more: {ended:?}"),
            }
        }
    };
    tokio::select! {
        error = service => println!("{name}: {error}"),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    elections.close().await;
    println!("{name} has left");
    Ok(())
}

async fn work(term: Term) {
    println!("leading with token {}", term.token());
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
