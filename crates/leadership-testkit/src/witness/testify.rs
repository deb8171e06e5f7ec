//! The child: stands, looks at each of its terms until it is over, and says what it sees.

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use leadership_core::{Candidate, Config, Elections, EndReason, Term};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{ORDER, record};
use crate::trials::now;
use crate::worker::Connect;

/// Between two looks at a term: much shorter than anything that is measured. A look takes some ten nanoseconds.
const LOOK: Duration = Duration::from_micros(100);

/// Is a witness until its input ends, if this process was started as one; the first thing that `main` does.
pub fn serve(connect: Connect) -> bool {
    let Ok(order) = std::env::var(ORDER) else {
        return false;
    };
    let words: Vec<_> = order.split(' ').collect();
    let [url, election, name, ttl] = words[..] else {
        panic!("not an order: {order:?}")
    };
    let config = Config::with_ttl(Duration::from_millis(ttl.parse().unwrap()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let elections = Elections::new(connect(url).unwrap(), config).unwrap();
        let candidate = elections.stand(election, name).unwrap();
        tokio::spawn(tell(candidate.clone()));
        let terms = tokio::runtime::Handle::current();
        let leader = candidate.clone();
        std::thread::spawn(move || {
            while let Ok(term) = terms.block_on(leader.elected()) {
                watch(&term, || terms.block_on(term.ended()));
            }
        });
        let mut orders = BufReader::new(tokio::io::stdin()).lines();
        while let Some(_stop) = orders.next_line().await.unwrap() {
            candidate.stop().await;
        }
        elections.close().await;
    });
    // Standard input is read by a thread that may never end.
    runtime.shutdown_background();
    true
}

/// Says what the candidate does.
async fn tell(candidate: Candidate) {
    let mut states = candidate.states();
    while let Some(state) = states.next().await {
        say(&format!("doing {}", record::doing(&state)));
    }
}

/// Says when the term is first seen to be valid, each new deadline, until when it surely was valid, and why it ended.
fn watch(term: &Term, ended: impl FnOnce() -> EndReason) {
    let first = now();
    if !term.is_valid() {
        return;
    }
    say(&format!("elected {} {}", term.token(), record::written(first)));
    let (mut last, mut deadline) = (first, first);
    let over = loop {
        let began = now();
        match term.deadline() {
            None => break began,
            Some(later) if later > deadline => {
                deadline = later;
                say(&format!("deadline {}", record::written(deadline)));
            }
            Some(_) => {}
        }
        last = began;
        std::thread::sleep(LOOK);
    };
    // The clock has already told; whoever asks now must learn the same as who asked before.
    let reason = ended();
    // A term that nothing else ended was valid until its deadline to the nanosecond, whether or not anybody looked.
    if matches!(reason, EndReason::DeadlinePassed | EndReason::Paused(_)) {
        last = last.max(deadline.min(over));
    }
    let (last, reason) = (record::written(last), record::reason(reason));
    say(&format!("over {last} {reason}"));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
