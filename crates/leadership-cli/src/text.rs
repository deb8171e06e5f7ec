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

/// Cuts user and password out of whatever looks like a URL. A net below those who build the text: they should
/// not put one in.
pub(crate) fn without_passwords(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
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
        assert_eq!(
            without_passwords("found 'etcd://me:p@ss@host' and etcd://host/a b@c x://y:z@"),
            "found 'etcd://…@host' and etcd://host/a b@c x://…@"
        );
    }
}
