//! How a store is named in text: the one grammar of store URLs, for the stores' own configurations.
//!
//! ```text
//! scheme://user:password@host1:port,host2:port/path?option=value&option=value
//! ```
//! Written by hand because the common parsers know no URL with several hosts. No message repeats what may be a
//! part of a password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::InvalidInput;

/// The option whose value is a secret. With an `&` in it that was not escaped, what looks like the next option is a part
/// of it.
const SECRET: &str = "token";

/// A store's URL in its parts, percent-decoded, each still to be understood by the store it is for.
pub struct StoreUrl {
    scheme: &'static str,
    /// User and password.
    pub user: Option<(String, String)>,
    /// What stands between the commas, not decoded: [`endpoint`] checks it.
    pub hosts: Vec<String>,
    /// What follows the first `/`, without one `/` at its end.
    pub path: String,
    options: Vec<(String, String)>,
    /// Whether one of them is secret.
    secret: bool,
}

impl StoreUrl {
    /// Takes a URL of `scheme` apart.
    ///
    /// - User, password, path and options are percent-decoded (`@` is `%40`, `/` in a password `%2F`).
    /// - The path is what follows the first `/`, without one `/` at its end. For a path that begins with a slash
    ///   write it twice: `etcd://host//path`.
    ///
    /// # Errors
    /// Names the part that cannot be understood and what to write instead.
    pub fn parse(scheme: &'static str, url: &str) -> Result<Self, InvalidInput> {
        let form = format!("write {scheme}://user:password@host:port,host:port/prefix?option=value");
        let what = format!("URL of {scheme}");
        let Some(rest) = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            let found = url.split_once("://").map_or("none", |(found, _)| found);
            return Err(InvalidInput::new(
                format!("URL scheme {found:?}"),
                format!("it is not {scheme}://"),
                form,
            ));
        };
        if rest.contains('#') {
            return Err(InvalidInput::new(what, "it has a #", "write # as %23"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if rest.contains('@') {
            // With an unescaped / or ? in the password, what looks like a host is a part of it.
            return Err(InvalidInput::new(
                what,
                "an @ comes after a / or ?",
                "write / as %2F, ? as %3F and @ as %40 in user, password, prefix and options",
            ));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let user = match userinfo.map(|userinfo| userinfo.split_once(':')) {
            None => None,
            Some(None) => return Err(InvalidInput::new(what, "it has a user and no password", form)),
            Some(Some((user, password))) => Some((
                decode(scheme, "user", user)?,
                decode(scheme, "password", password)?,
            )),
        };
        let path = decode(scheme, "prefix", path)?;
        let options = options(scheme, query)?;
        Ok(Self {
            scheme,
            user,
            hosts: hosts.split(',').map(str::to_owned).collect(),
            path: path.strip_suffix('/').unwrap_or(&path).to_owned(),
            secret: has_secret(&options),
            options,
        })
    }

    /// Takes the value of an option, if it is given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(given, _)| given == name)?;
        Some(self.options.swap_remove(at).1)
    }

    /// Takes an option that is `true` or `false`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn take_bool(&mut self, name: &str) -> Result<Option<bool>, InvalidInput> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.refuse(name, "it is neither true nor false", format!("write {name}=true"))),
        }
    }

    /// Takes an option that is a time: a number with `ms`, `s` or `m`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_duration(&mut self, name: &str) -> Result<Option<Duration>, InvalidInput> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match duration(&value) {
            Some(time) => Ok(Some(time)),
            None => Err(self.refuse(name, "it is no time", format!("write {name}=2s, or 500ms"))),
        }
    }

    /// Takes the options about TLS: `tls=true` (the system's authorities), `ca` (a PEM file with the only
    /// authorities to trust), `cert` and `key` (PEM files of a client certificate), `server_name`.
    ///
    /// # Errors
    /// When they contradict each other. No file is read here.
    pub fn take_tls(&mut self) -> Result<Option<Tls>, InvalidInput> {
        let wanted = self.take_bool("tls")?;
        let tls = Tls {
            ca: self.take("ca").map(Pem::file),
            identity: match (self.take("cert"), self.take("key")) {
                (Some(cert), Some(key)) => Some((Pem::file(cert), Pem::file(key))),
                (None, None) => None,
                _ => {
                    return Err(InvalidInput::new(
                        format!("options cert and key of the {} URL", self.scheme),
                        "only one of them is given",
                        "give both, or none",
                    ));
                }
            },
            server_name: self.take("server_name"),
        };
        let given = tls.ca.is_some() || tls.identity.is_some() || tls.server_name.is_some();
        match wanted {
            Some(false) if given => Err(InvalidInput::new(
                format!("option tls=false of the {} URL", self.scheme),
                "ca, cert, key or server_name turn TLS on",
                "leave out one or the other",
            )),
            wanted => Ok((given || wanted == Some(true)).then_some(tls)),
        }
    }

    /// Refuses what was not taken; `known` names what could be given.
    ///
    /// # Errors
    /// When an option is left.
    pub fn finish(self, known: &str) -> Result<(), InvalidInput> {
        match self.options.first() {
            None => Ok(()),
            Some(_) if self.secret => Err(InvalidInput::new(
                unnamed(self.scheme),
                "it is not known",
                format!("known are {known}; write & in a {SECRET} as %26"),
            )),
            Some((name, _)) => Err(self.refuse(name, "it is not known", format!("known are {known}"))),
        }
    }

    /// An error about an option of this URL.
    pub fn refuse(&self, name: &str, problem: &str, remedy: impl Into<String>) -> InvalidInput {
        InvalidInput::new(
            format!("option {name} of the {} URL", self.scheme),
            problem,
            remedy,
        )
    }
}

/// A prefix as it stands in a URL, with the `/` before it, so that [`StoreUrl::parse`] reads the same.
pub fn path(prefix: &str) -> String {
    let mut path = String::from("/");
    for c in prefix.chars() {
        match c {
            '%' | '?' | '#' | '@' => path.push_str(&format!("%{:02X}", u32::from(c))),
            c => path.push(c),
        }
    }
    // The last one is left out when it is read.
    if prefix.ends_with('/') {
        path.push('/');
    }
    path
}

/// Checks `host`, `host:port`, `[v6]` or `[v6]:port`, and gives it its port.
///
/// # Errors
/// When it is not of this form.
pub fn endpoint(text: &str, default_port: u16) -> Result<String, InvalidInput> {
    let refuse = |problem: &str, remedy: String| {
        Err(InvalidInput::new(
            format!("endpoint {text:?}"),
            problem.to_owned(),
            remedy,
        ))
    };
    let in_brackets = || format!("write an IPv6 address as [::1]:{default_port}");
    if text.is_empty() {
        return refuse(
            "it is empty",
            format!("give host:port, for example 127.0.0.1:{default_port}"),
        );
    }
    if text.contains("://") {
        return refuse(
            "it is a URL",
            "give host:port only; TLS is turned on with tls=true or ca=".to_owned(),
        );
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return refuse("its bracket is not closed", in_brackets());
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return refuse("it is no IPv6 address", in_brackets());
        }
        match rest.strip_prefix(':') {
            None if rest.is_empty() => (format!("[{address}]"), None),
            None => return refuse("text follows the bracket", in_brackets()),
            Some(port) => (format!("[{address}]"), Some(port)),
        }
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return refuse("it has several colons", in_brackets());
        }
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(known) {
            return refuse(
                "its host is not a host name",
                "use letters, digits, dots and hyphens".to_owned(),
            );
        }
        (host.to_owned(), port)
    };
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{host}:{default_port}")),
        Some(Ok(port)) if port != 0 => Ok(format!("{host}:{port}")),
        Some(_) => refuse(
            "its port is not a number from 1 to 65535",
            "give host:port".to_owned(),
        ),
    }
}

/// Checks endpoints, each as [`endpoint`] does; the same one twice would only be tried twice.
///
/// # Errors
/// When there is none, or one is not of the form.
pub fn endpoints<E: AsRef<str>>(
    store: &str,
    given: impl IntoIterator<Item = E>,
    default_port: u16,
) -> Result<Vec<String>, InvalidInput> {
    let mut checked: Vec<String> = Vec::new();
    for text in given {
        let endpoint = endpoint(text.as_ref(), default_port)?;
        if !checked.contains(&endpoint) {
            checked.push(endpoint);
        }
    }
    if checked.is_empty() {
        return Err(InvalidInput::new(
            format!("endpoints of {store}"),
            "there is none",
            format!("give at least one host:port, for example 127.0.0.1:{default_port}"),
        ));
    }
    Ok(checked)
}

/// TLS as configured; the files are read when the store is made.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The only authorities to trust; the system's, if none.
    pub ca: Option<Pem>,
    /// The client certificate to present, and its key.
    pub identity: Option<(Pem, Pem)>,
    /// The name to expect in the servers' certificates, instead of the endpoint's host.
    pub server_name: Option<String>,
}

/// Certificates or a key in PEM.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pem {
    /// A file, read once when the store is made.
    File(PathBuf),
    /// The text itself.
    Text(Vec<u8>),
}

impl Pem {
    /// A file, read once when the store is made.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// The text itself.
    pub fn text(pem: impl Into<Vec<u8>>) -> Self {
        Self::Text(pem.into())
    }

    /// Where it comes from, for a message.
    pub fn origin(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(pem) => format!("PEM of {} bytes", pem.len()),
        }
    }

    /// The text; `what` is the option it was given for.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, what: &str) -> Result<Vec<u8>, InvalidInput> {
        match self {
            Self::Text(pem) => Ok(pem.clone()),
            Self::File(path) => std::fs::read(path).map_err(|e| {
                InvalidInput::new(
                    format!("{what} {}", path.display()),
                    format!("it cannot be read: {e}"),
                    "give the path of a PEM file that this process may read",
                )
            }),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

fn options(scheme: &str, query: &str) -> Result<Vec<(String, String)>, InvalidInput> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let hidden = has_secret(&options) && name != SECRET;
        let refuse = |problem: &str, remedy: String| {
            let (what, remedy) = if hidden {
                (unnamed(scheme), format!("write & in a {SECRET} as %26"))
            } else {
                (format!("option {name} of the {scheme} URL"), remedy)
            };
            Err(InvalidInput::new(what, problem.to_owned(), remedy))
        };
        if options.iter().any(|(given, _)| given == name) {
            return refuse("it is given twice", "give it once".to_owned());
        }
        let value = decode(scheme, if hidden { "an option" } else { name }, value)?;
        if value.is_empty() {
            return refuse("it has no value", format!("write {name}=value"));
        }
        options.push((name.to_owned(), value));
    }
    Ok(options)
}

fn has_secret(options: &[(String, String)]) -> bool {
    options.iter().any(|(name, _)| name == SECRET)
}

/// An option whose name may be a part of the secret.
fn unnamed(scheme: &str) -> String {
    format!("an option beside {SECRET} of the {scheme} URL")
}

/// `2s`, `500ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// Percent-decodes a part of the URL, named `what` in the error; the part itself may be secret.
fn decode(scheme: &str, what: &str, text: &str) -> Result<String, InvalidInput> {
    let refuse = |problem: &str| {
        InvalidInput::new(
            format!("{what} in the {scheme} URL"),
            problem.to_owned(),
            "write % as %25, and other bytes as % and two hexadecimal digits",
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (hex(bytes.next()), hex(bytes.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(refuse("its % is not followed by two hexadecimal digits")),
        }
    }
    String::from_utf8(out).map_err(|_| refuse("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_is_shown_is_read_again_as_the_same() {
        for prefix in ["a/b", "a b/ä", "/a", "a/", "/", "a%2Fb?c#d@e"] {
            let url = format!("etcd://h{}", path(prefix));
            assert_eq!(
                StoreUrl::parse("etcd", &url).expect("a URL").path,
                prefix,
                "{url}"
            );
        }
    }
}
