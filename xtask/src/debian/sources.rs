//! Finding a mirror of Debian among the apt sources of this machine, in both formats: `sources.list` with a
//! line per source, and `*.sources` with paragraphs of fields.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};

/// Releases and their aliases. Other archives use these names too, so a match is a candidate, no more.
const RELEASES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// An archive of Debian and the keys it is checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    uris: String,
    /// Paths, fingerprints or a whole key, as in the machine's source; without it apt uses all keys it
    /// trusts.
    signed_by: Option<String>,
}

impl Mirror {
    /// The source of another release on the same mirror.
    pub(super) fn for_suite(&self, suite: &str) -> String {
        let signed_by = self
            .signed_by
            .as_ref()
            .map(|keys| format!("Signed-By: {keys}\n"))
            .unwrap_or_default();
        format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{signed_by}",
            self.uris
        )
    }
}

/// The mirrors that the sources below `etc` name, the likeliest first.
pub(super) fn debian_mirrors(etc: &Path) -> Result<Vec<Mirror>> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(parts) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(parts.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut mirrors = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let read = || fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => mirrors.extend(read()?.lines().filter_map(from_line)),
            Some("sources") => mirrors.extend(
                paragraphs(&read()?)
                    .iter()
                    .filter_map(|fields| from_fields(fields)),
            ),
            _ => {}
        }
    }
    ensure!(
        !mirrors.is_empty(),
        "no apt source below {} names a release of Debian, and packages are taken from the mirror of this machine: \
         add a source of Debian",
        etc.display()
    );
    // Archives of others with the same names of releases go last.
    mirrors.sort_by_key(|mirror| !mirror.uris.contains("/debian"));
    mirrors.dedup();
    Ok(mirrors)
}

/// `deb [signed-by=/keys.gpg] http://mirror/debian trixie main contrib`
fn from_line(line: &str) -> Option<Mirror> {
    let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match line.strip_prefix('[') {
        Some(line) => line.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    mirror(
        uri,
        suite,
        words.collect::<Vec<_>>().join(" ").as_str(),
        signed_by.map(|keys| keys.replace(',', " ")),
    )
}

fn from_fields(fields: &[(String, String)]) -> Option<Mirror> {
    let field = |name: &str| {
        let field = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    };
    let disabled = field("Enabled").is_some_and(|value| matches!(value, "no" | "false" | "0"));
    if disabled || !has(field("Types")?, &["deb"]) {
        return None;
    }
    mirror(
        field("URIs")?,
        field("Suites")?,
        field("Components")?,
        field("Signed-By").map(str::to_owned),
    )
}

fn mirror(uris: &str, suites: &str, components: &str, signed_by: Option<String>) -> Option<Mirror> {
    let usable = has(suites, &RELEASES) && has(components, &["main"]) && !uris.starts_with("cdrom:");
    usable.then(|| Mirror {
        uris: uris.to_owned(),
        signed_by,
    })
}

fn has(words: &str, wanted: &[&str]) -> bool {
    words.split_whitespace().any(|word| wanted.contains(&word))
}

/// Fields of each paragraph. A value goes on in lines that begin with a blank, which are kept as they are: a
/// key may be written out in them.
fn paragraphs(text: &str) -> Vec<Vec<(String, String)>> {
    let mut paragraphs = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(fields) = paragraphs.last_mut() else {
            continue;
        };
        if line.trim().is_empty() {
            paragraphs.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_mirror() {
        let mirror = |uris: &str, keys: Option<&str>| {
            Some(Mirror {
                uris: uris.to_owned(),
                signed_by: keys.map(str::to_owned),
            })
        };
        let cases = [
            (
                "deb http://mirror.test/debian bookworm main",
                mirror("http://mirror.test/debian", None),
            ),
            (
                "deb [ arch=amd64 signed-by=/a.gpg,/b.gpg ] http://mirror.test/debian trixie main contrib # main one",
                mirror("http://mirror.test/debian", Some("/a.gpg /b.gpg")),
            ),
            ("# deb http://mirror.test/debian bookworm main", None),
            ("deb-src http://mirror.test/debian bookworm main", None),
            (
                "deb http://mirror.test/debian-security bookworm-security main",
                None,
            ),
            ("deb http://mirror.test/ubuntu jammy main", None),
            ("deb http://mirror.test/debian bookworm contrib", None),
            ("deb cdrom:[Debian]/ bookworm main", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(from_line(line), expected, "{line}");
        }
    }

    #[test]
    fn a_paragraph_names_a_mirror_and_its_key() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n -----END\n\nTypes: deb\nEnabled: no\n\
                    URIs: http://other.test/debian\nSuites: sid\nComponents: main\n";
        let found: Vec<_> = paragraphs(text)
            .iter()
            .filter_map(|fields| from_fields(fields))
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].for_suite("trixie"),
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
             Signed-By: \n -----BEGIN\n .\n -----END\n"
        );
    }
}
