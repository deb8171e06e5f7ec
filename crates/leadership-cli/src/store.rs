//! What `run`, `watch` and `status` have in common: which store, which election, and that it answers at all.

use std::time::Duration;

use leadership::{Config, Contender, ElectionName, Elections, Error, Follower};
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::{Failure, UNAVAILABLE};
use crate::text;

/// Between two tries to reach the store.
const TRY_AGAIN: Duration = Duration::from_millis(250);

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

const STORE: &str = "The store: etcd://[user:password@]host:port[,host:port...][/prefix], or consul://, or zk://. The \
    command line of a process can be seen by all users of a machine; the variable cannot";

#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    #[arg(long, env = "LEADERSHIP_STORE", hide_env_values = true, value_name = "URL", help = STORE)]
    store: String,

    /// The election's name, such as service/scheduler
    #[arg(long, value_name = "NAME")]
    pub(crate) election: String,

    /// How long the store may take to answer at the start, however often it is tried; `connect_timeout` in the URL is
    /// for each try. Later errors are waited out
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    connect_timeout: Duration,
}

/// Reads a duration such as `1m 30s`. Sums of those that are accepted do not overflow.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let problem = match humantime::parse_duration(text) {
        Ok(duration) if duration <= YEAR => return Ok(duration),
        Ok(_) => "it is longer than a year".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!("{problem}; give a duration such as 15s or 500ms"))
}

/// An election at a store that answers.
pub(crate) struct Opened {
    pub(crate) elections: Elections,
    pub(crate) follower: Follower,
    /// Who stood in line at the start.
    pub(crate) line: Vec<Contender>,
}

impl StoreArgs {
    /// Connects, and asks the store once for the line of the election: so a wrong address, password or name is
    /// told now, by its own words.
    pub(crate) async fn open(&self, config: Config) -> Result<Opened, Failure> {
        let until = Instant::now() + self.connect_timeout;
        // What can be told without the store is told before it is looked for.
        config.check().map_err(Error::from)?;
        let election = ElectionName::new(&self.election).map_err(Error::from)?;
        let shown = shown(&self.store);
        let store = self
            .answered(&shown, until, || leadership::connect(&self.store))
            .await?;
        let elections = Elections::new(store, config)?;
        let follower = elections.follow(election)?;
        let line = self.answered(&shown, until, || follower.contenders()).await?;
        Ok(Opened {
            elections,
            follower,
            line,
        })
    }

    /// Asks until there is an answer, or an error that cannot pass, or no time left.
    async fn answered<T, F>(&self, store: &str, until: Instant, ask: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut last = None;
        let answer = async {
            loop {
                match ask().await {
                    Err(Error::Store(error)) if error.is_transient() => last = Some(error.to_string()),
                    answer => return answer,
                }
                sleep(TRY_AGAIN).await;
            }
        };
        match timeout_at(until, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(self.unreachable(store, last.as_deref())),
        }
    }

    fn unreachable(&self, store: &str, last: Option<&str>) -> Failure {
        let last = last.map_or_else(String::new, |last| format!(" ({})", text::line(last)));
        let limit = humantime::format_duration(self.connect_timeout);
        Failure::new(
            UNAVAILABLE,
            format!(
                "{store} did not answer within {limit}{last}; check --store, or wait longer with --connect-timeout"
            ),
        )
    }
}

/// A store's URL without what may be secret: user, password and options.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.rsplit('@').next().unwrap_or_default();
    let rest = rest.split('?').next().unwrap_or_default();
    text::line(&format!("{scheme}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_url_is_shown_without_secrets() {
        for (url, expected) in [
            ("etcd://h1:2379,h2:2379/p", "etcd://h1:2379,h2:2379/p"),
            ("etcd://me:se cr@e/t@h1:2379/p?key=secret", "etcd://h1:2379/p"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
