//! Text from outside on its way to a terminal: escaped, so that it cannot move the cursor, and without
//! passwords.

use leadership::Token;

/// One line: control characters, also those that turn the direction of writing, appear as escapes.
pub(crate) fn line(text: &str) -> String {
    let escaped = text.trim_end().escape_debug().to_string();
    escaped.replace("\\'", "'").replace("\\\"", "\"")
}

/// A value as an entry has it, quoted where it would not read as one word.
pub(crate) fn name(value: &str) -> String {
    let plain = !value.is_empty() && !value.chars().any(|c| c.is_whitespace() || c == '"');
    if plain { line(value) } else { format!("{value:?}") }
}

pub(crate) fn token(token: Option<Token>) -> String {
    token.map_or_else(String::new, |token| format!("  token {token}"))
}

/// Cuts user and password out of whatever looks like a URL, and out of what this process was given. A net below
/// those who build the text: they should not put one in.
pub(crate) fn without_passwords(text: &str) -> String {
    let given = std::env::args_os().chain(std::env::var_os("LEADERSHIP_STORE"));
    let given: Vec<String> = given.map(|arg| arg.to_string_lossy().into_owned()).collect();
    without_those_of(&given, text)
}

fn without_those_of(given: &[String], text: &str) -> String {
    let mut text = text.to_owned();
    for url in given {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        if let Some((secret, _)) = rest.rsplit_once('@')
            && !secret.is_empty()
        {
            text = text.replace(secret, "…");
        }
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + "://".len());
        result.push_str(before);
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                result.push('…');
                &after[at..]
            }
            None => after,
        };
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(line("it's \"ü\" ok\n"), "it's \"ü\" ok");
        assert_eq!(line("a\u{1b}[2Jb\rc\nd\u{202e}"), "a\\u{1b}[2Jb\\rc\\nd\\u{202e}");
        assert_eq!(name("node-1"), "node-1");
        assert_eq!(name("node 1\u{7}"), "\"node 1\\u{7}\"");
        assert_eq!(name(""), "\"\"");
    }

    #[test]
    fn user_and_password_are_cut_out() {
        let cut = |text| {
            without_those_of(
                &["me:a b@host".into(), "--store=x://c d@h".into(), "@".into()],
                text,
            )
        };
        assert_eq!(
            cut("found 'etcd://me:p@ss@host' and etcd://host/a b@c x://y:z@"),
            "found 'etcd://…@host' and etcd://host/a b@c x://…@"
        );
        assert_eq!(
            cut("found 'me:a b@host', 'x://c d@h'"),
            "found '…@host', 'x://…@h'"
        );
    }
}
